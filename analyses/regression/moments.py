"""The linear map when states do not fit in memory: two passes over chunks of rows.

The first pass keeps R and Qᵀy of the whitened rows seen so far, X = QR: the QR decomposition of R
stacked on the next chunk is that of all rows so far (TSQR, Demmel et al. 2012,
https://doi.org/10.1137/080731992), so that the condition number of the regressors is never squared,
as it would be by cross-products, and large means do no harm. The second pass forms residuals and
leverages of each chunk, and adds up the meats of all outputs. The answer is that of `linear_map`
with HC3 to rounding; memory holds one chunk and k × k numbers an output, however many rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from concept_ppl.analyses.covariance.coefficient_inference import (
    NO_SLOPE,
    errors_and_wald,
    output_test,
    student_inference,
)
from concept_ppl.analyses.covariance.sandwich import output_slices, refuse_full_leverage, row_meat
from concept_ppl.analyses.designs.arrays import FloatArray, check_level, check_states
from concept_ppl.analyses.results.hypotheses import invalid
from concept_ppl.errors import InputError

from .linear_maps import Direction, LinearMap

CONDITION_LIMIT = 1e8
"""Largest condition number of the regressors, each of length 1, with which leverages keep half of
their digits in the second pass."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A chunk of rows: states (m, d), contrasts (m, q) and positive weights (m,), 1 by default."""

    F: npt.ArrayLike
    Z: npt.ArrayLike
    weights: npt.ArrayLike | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StreamedFit:
    """Least squares of the first pass; shapes as in `sandwich.LeastSquares`, but for Q.

    Attributes
    ----------
    R, scores, coefficients
        (k, k), (k, d) and (k, d).
    n
        Rows.
    """

    R: FloatArray
    scores: FloatArray
    coefficients: FloatArray
    n: int


class LeastSquaresFitter:
    """Accumulates R and Qᵀy over chunks."""

    def __init__(self, k: int, d: int) -> None:
        self._R: FloatArray = np.zeros((k, k))
        self._scores: FloatArray = np.zeros((k, d))
        self._n = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers k of regressors and d of outputs."""
        return len(self._R), self._scores.shape[1]

    def update(self, X: FloatArray, Y: FloatArray) -> None:
        """Take in whitened regressors (m, k), the intercept first, and outputs (m, d)."""
        k = len(self._R)
        Q, R = linalg.qr(np.vstack([self._R, X]), mode="economic", check_finite=False)
        self._R = np.asarray(R)
        self._scores = Q[:k].T @ self._scores + Q[k:].T @ Y
        self._n += len(X)

    def solve(self, names: Sequence[str]) -> StreamedFit:
        """Return the coefficients.

        Raises
        ------
        InputError
            If there are no more rows than regressors, or these are nearly collinear.
        """
        k = len(self._R)
        if self._n <= k:
            raise InputError(f"{self._n} rows are too few for {k} coefficients; give more rows.")
        lengths = np.linalg.norm(self._R, axis=0)
        empty = np.flatnonzero(lengths == 0.0)
        if empty.size:
            raise InputError(f"Regressor {names[empty[0]]} is zero in every row; leave it out.")
        condition = float(np.linalg.cond(self._R / lengths))
        if not condition <= CONDITION_LIMIT:
            raise InputError(
                f"The regressors are nearly collinear: their condition number is {condition:.1e}, "
                f"more than {CONDITION_LIMIT:.0e}; leave some out, or fit in memory."
            )
        coefficients = np.asarray(linalg.solve_triangular(self._R, self._scores))
        return StreamedFit(self._R.copy(), self._scores.copy(), coefficients, self._n)


class SandwichFitter:
    """Accumulates HC3 meats and squared residuals of all outputs over chunks."""

    def __init__(self, fit: StreamedFit) -> None:
        k, d = fit.coefficients.shape
        self._fit = fit
        self._meat = np.zeros((d, k, k))
        self._squares = np.zeros(d)
        self._n = 0

    def update(self, X: FloatArray, Y: FloatArray) -> None:
        """Take in the same rows as in the first pass.

        Raises
        ------
        InputError
            If a row has leverage 1.
        """
        Q = linalg.solve_triangular(self._fit.R, X.T, trans="T", check_finite=False).T
        leverages = np.einsum("ik,ik->i", Q, Q)
        refuse_full_leverage(leverages, range(self._n, self._n + len(X)))
        residuals = Y - X @ self._fit.coefficients
        self._squares += np.einsum("ij,ij->j", residuals, residuals)
        for outputs in output_slices(*self._fit.coefficients.shape):
            self._meat[outputs] += row_meat(Q, residuals[:, outputs], 1.0 / (1.0 - leverages))
        self._n += len(X)

    def solve(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return standard errors (k, d), Wald statistics of all slopes (d,), and R² (d,).

        Raises
        ------
        InputError
            If the second pass did not see as many rows as the first.
        """
        fit = self._fit
        if self._n != fit.n:
            raise InputError(
                f"The second pass gave {self._n} rows, the first {fit.n}; chunks must be the same "
                "each time that they are asked for."
            )
        k, d = fit.coefficients.shape
        unscaled = np.asarray(linalg.solve_triangular(fit.R, np.eye(k)))
        meats = ((outputs, self._meat[outputs]) for outputs in output_slices(k, d))
        std_errors, wald = errors_and_wald(unscaled, fit.scores, meats)
        explained = np.square(fit.scores[1:]).sum(axis=0)
        return std_errors, wald, explained / (explained + self._squares)


def stream_linear_map(
    chunks: Callable[[], Iterable[Rows]],
    *,
    names: Sequence[str] | None = None,
    direction: Direction = "forward",
    target: str = "log_odds",
    layer: str = "",
    level: float = 0.95,
) -> LinearMap:
    """Regress states on contrasts, or back, over chunks of independent rows, with HC3.

    Valid as `linear_map` with HC3. The joint test of all outputs needs the covariance between them
    and is not made here; that of each output is.

    Parameters
    ----------
    chunks
        Gives the rows, in chunks of a few thousand, the same each of the two times that it is
        called; see `stored_rows` for files.
    names
        Of the q contrasts.
    direction, target, layer, level
        As in `linear_map`.

    Raises
    ------
    InputError
        If an entry is not finite, a weight not positive, widths or passes differ, regressors are
        nearly collinear (`CONDITION_LIMIT`), or a row has leverage 1.
    """
    check_level(level)
    first = None
    for X, Y in whitened_chunks(chunks(), direction):
        first = first or LeastSquaresFitter(X.shape[1], Y.shape[1])
        first.update(X, Y)
    if first is None:
        raise InputError("There are no rows: chunks() gave nothing.")
    k, d = first.shape
    regressors, outputs = _names(k, d, names, direction)
    fit = first.solve(regressors)
    second = SandwichFitter(fit)
    for X, Y in whitened_chunks(chunks(), direction):
        second.update(X, Y)
    std_errors, wald, r_squared = second.solve()
    df = np.full(k, float(fit.n - k))
    per_output = tuple(output_test(j, value, k - 1, df[0], fit.n) for j, value in enumerate(wald))
    joint = invalid(NO_SLOPE, "the covariance between outputs is not kept while rows are streamed")
    if d == 1:
        joint = per_output[0]
    inference = student_inference(fit.coefficients, std_errors, df, per_output, joint, level)
    return LinearMap(
        fit.coefficients,
        inference,
        r_squared,
        regressors,
        outputs,
        "HC3",
        direction,
        level,
        fit.n,
        fit.n,
        target,
        layer,
    )


def whitened_chunks(
    chunks: Iterable[Rows], direction: Direction
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Check chunks and yield regressors, the intercept first, and outputs times root weights.

    Raises
    ------
    InputError
        With the first row of the chunk in which something is wrong.
    """
    start, widths = 0, None
    for chunk in chunks:
        F = check_states(chunk.F, f"F from row {start} on")
        Z = check_states(chunk.Z, f"Z from row {start} on")
        if len(F) != len(Z):
            raise InputError(f"From row {start} on, F has {len(F)} rows and Z {len(Z)}.")
        widths = widths or (F.shape[1], Z.shape[1])
        if widths != (F.shape[1], Z.shape[1]):
            raise InputError(
                f"From row {start} on, F and Z have {F.shape[1]} and {Z.shape[1]} columns; before, "
                f"{widths[0]} and {widths[1]}."
            )
        root = _root_weights(chunk.weights, len(F), start)
        X, Y = (Z, F) if direction == "forward" else (F, Z)
        whitened = Y if chunk.weights is None else Y * root[:, None]
        yield np.column_stack([root, X * root[:, None]]), whitened
        start += len(F)


def _root_weights(weights: npt.ArrayLike | None, m: int, start: int) -> FloatArray:
    if weights is None:
        return np.ones(m)
    mass = np.asarray(weights, dtype=np.float64)
    if mass.shape != (m,):
        raise InputError(f"From row {start} on, weights has shape {mass.shape}; it must be ({m},).")
    bad = np.flatnonzero(~(np.isfinite(mass) & (mass > 0)))
    if bad.size:
        raise InputError(
            f"weights holds {mass[bad[0]]} at row {start + bad[0]}; weights must be positive and "
            "finite."
        )
    return np.sqrt(mass)


def _names(
    k: int, d: int, names: Sequence[str] | None, direction: Direction
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of regressors and outputs."""
    q, width = (k - 1, d) if direction == "forward" else (d, k - 1)
    contrasts = tuple(names) if names is not None else tuple(f"z{i + 1}" for i in range(q))
    if len(contrasts) != q:
        raise InputError(f"names has {len(contrasts)} entries, Z has {q} columns.")
    states = tuple(f"f{i + 1}" for i in range(width))
    sides = (contrasts, states) if direction == "forward" else (states, contrasts)
    return ("const", *sides[0]), sides[1]
