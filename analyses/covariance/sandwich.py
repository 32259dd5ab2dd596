"""How sure are the coefficients of many regressions on one design: sandwiches, all outputs at once.

With weights, every row is multiplied by the root of its weight first; "whitened" below means that.
The whitened regressors are X = QR with QᵀQ = I. For output j with residuals e_j, and s_g = Q_gᵀe_gj
summed over the rows of cluster g, the covariance of the coefficients is R⁻¹ M_j R⁻ᵀ with the meat

    M_j = Σ_g a_g s_g s_gᵀ a_g,   a_g = (I − Q_gᵀQ_g)^(−p),

p = 0 for CR0 and CR1, ½ for CR2 (Bell and McCaffrey 2002, Survey Methodology 28, 169–181, with the
inverse weights as working variances), and, with a cluster a row, ½ for HC2 and 1 for HC3
(MacKinnon and White 1985, https://doi.org/10.1016/0304-4076(85)90158-7). That a k × k matrix can
stand for the n_g × n_g one of the literature follows from
(I − Q_gQ_gᵀ)^(−p) Q_g = Q_g (I − Q_gᵀQ_g)^(−p). Q and its leverages serve every output, and sums
over rows are matrix products, so that d outputs cost little more than one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.errors import InputError

COLLINEAR = 1e-13
"""Least distance of a regressor from the span of those before it, relative to its length."""

FULL_LEVERAGE = 1e-9
"""Leverages nearer to 1 than this leave no residual to estimate a variance from."""

NUMBERS_AT_ONCE = 1 << 22
ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """Least-squares regressions of d outputs on the same k regressors, rows whitened.

    Attributes
    ----------
    Q, R
        (n, k) orthonormal basis of the regressors and (k, k) upper triangle: regressors = QR.
    coefficients
        (k, d).
    residuals
        (n, d) whitened.
    """

    Q: FloatArray
    R: FloatArray
    coefficients: FloatArray
    residuals: FloatArray

    @property
    def leverages(self) -> FloatArray:
        """Diagonal of the hat matrix, (n,)."""
        return np.asarray(np.einsum("ik,ik->i", self.Q, self.Q))

    @property
    def scores(self) -> FloatArray:
        """Coefficients in the basis Q, (k, d): Qᵀ times the whitened outputs."""
        return np.asarray(self.R @ self.coefficients)

    @property
    def r_squared(self) -> FloatArray:
        """In-sample R² (d,) about the weighted mean, the intercept being the first regressor."""
        explained = np.square(self.scores[1:]).sum(axis=0)
        unexplained = np.einsum("ij,ij->j", self.residuals, self.residuals)
        return np.asarray(explained / (explained + unexplained))

    @property
    def unscaled(self) -> FloatArray:
        """R⁻¹ (k, k), which takes scores in the basis Q to coefficients."""
        return np.asarray(linalg.solve_triangular(self.R, np.eye(len(self.R))))


def least_squares(
    X: FloatArray, Y: FloatArray, weights: FloatArray, names: Sequence[str]
) -> LeastSquares:
    """Regress the columns of Y (n, d) on X (n, k) by Householder QR of scaled columns.

    Parameters
    ----------
    X, Y, weights
        Regressors, the intercept among them; outputs; (n,) positive weights.
    names
        Of the k regressors, for messages.

    Raises
    ------
    InputError
        If there are no more rows than regressors, or a regressor is, to rounding, a linear
        combination of those before it.
    """
    n, k = X.shape
    if n <= k:
        raise InputError(f"{n} rows are too few for {k} coefficients; give more contexts.")
    root = np.sqrt(weights)[:, None]
    whitened = X * root
    scale = np.linalg.norm(whitened, axis=0)
    Q, R = linalg.qr(whitened / scale, mode="economic", check_finite=False)
    lost = np.flatnonzero(np.abs(np.diag(R)) <= COLLINEAR)
    if lost.size:
        raise InputError(
            f"Regressor {names[lost[0]]} is a linear combination of those before it; leave it out."
        )
    outputs = Y * root
    scores = Q.T @ outputs
    coefficients = linalg.solve_triangular(R, scores) / scale[:, None]
    for start in range(0, n, ROWS_AT_ONCE):  # no second matrix the size of the outputs
        rows = slice(start, start + ROWS_AT_ONCE)
        outputs[rows] -= Q[rows] @ scores
    return LeastSquares(Q, R * scale, coefficients, outputs)


def refuse_full_leverage(leverages: FloatArray, rows: Sequence[int] | IntArray) -> None:
    """Refuse rows that their own coefficient fits exactly.

    Raises
    ------
    InputError
        With the first such row, by its number in ``rows``.
    """
    full = np.flatnonzero(1.0 - leverages <= FULL_LEVERAGE)
    if full.size:
        raise InputError(
            f"Row {rows[full[0]]} has leverage 1: some regressor is there only, so that its "
            "residual is zero whatever its error. Leave out the row or that regressor."
        )


def row_meats(fit: LeastSquares, power: float) -> Iterator[tuple[slice, FloatArray]]:
    """Meats of independent rows, (b, k, k) for each slice of b outputs, in the basis Q.

    Parameters
    ----------
    fit
        The regressions.
    power
        p of the module docstring: 0 for HC0, ½ for HC2, 1 for HC3.

    Raises
    ------
    InputError
        If a row has leverage 1.
    """
    leverages = fit.leverages
    refuse_full_leverage(leverages, range(len(leverages)))
    inflation = (1.0 - leverages) ** (-power)
    for outputs in output_slices(*fit.coefficients.shape):
        yield outputs, row_meat(fit.Q, fit.residuals[:, outputs], inflation)


def row_meat(Q: FloatArray, residuals: FloatArray, inflation: FloatArray) -> FloatArray:
    """Σ_i c_i² e_ij² q_i q_iᵀ for every output j, (b, k, k): one matrix product a chunk of rows.

    Parameters
    ----------
    Q, residuals, inflation
        (n, k), (n, b) and (n,) c.
    """
    (n, k), b = Q.shape, residuals.shape[1]
    if b <= k:
        parts = (Q * (inflation * column)[:, None] for column in residuals.T)
        return np.array([part.T @ part for part in parts])
    first, second = np.triu_indices(k)
    upper = np.zeros((len(first), b))
    inflated = np.ascontiguousarray((Q * inflation[:, None]).T)
    step = max(1, NUMBERS_AT_ONCE // (8 * max(len(first), b)))
    for start in range(0, n, step):
        q = inflated[:, start : start + step]
        upper += (q[first] * q[second]) @ np.square(residuals[start : start + step])
    meat = np.empty((b, k, k))
    meat[:, first, second] = upper.T
    meat[:, second, first] = upper.T
    return meat


def cluster_meats(
    fit: LeastSquares, members: Sequence[IntArray], power: float
) -> Iterator[tuple[slice, FloatArray]]:
    """Meats of independent clusters, (b, k, k) for each slice of b outputs, in the basis Q.

    Parameters
    ----------
    fit
        The regressions.
    members
        Rows of each cluster.
    power
        p of the module docstring: 0 for CR0, ½ for CR2, 1 for the jackknife.

    Raises
    ------
    InputError
        If a cluster alone determines a coefficient and p > 0.
    """
    k, d = fit.coefficients.shape
    for outputs in output_slices(k, d):
        meat = np.zeros((outputs.stop - outputs.start, k, k))
        for scores in adjusted_scores(fit, members, power, outputs):
            by_output = np.ascontiguousarray(scores.transpose(2, 1, 0))
            meat += by_output @ by_output.transpose(0, 2, 1)
        yield outputs, meat


def adjusted_scores(
    fit: LeastSquares, members: Sequence[IntArray], power: float, outputs: slice
) -> Iterator[FloatArray]:
    """Yield adjusted scores a_g s_g of a slice of b outputs, (c, k, b) for batches of c clusters.

    Parameters and errors as `cluster_meats`.
    """
    k, b = fit.Q.shape[1], outputs.stop - outputs.start
    step = max(1, NUMBERS_AT_ONCE // (k * b))
    for start in range(0, len(members), step):
        batch = members[start : start + step]
        if all(len(rows) == 1 for rows in batch):
            rows = np.concatenate(batch)
            Q = fit.Q[rows]
            leverages = np.einsum("ik,ik->i", Q, Q)
            if power:
                refuse_full_leverage(leverages, rows)
            Q = Q * ((1.0 - leverages) ** -power)[:, None]
            yield Q[:, :, None] * fit.residuals[rows, None, outputs]
            continue
        scores = np.empty((len(batch), k, b))
        for i, rows in enumerate(batch):
            Q = fit.Q[rows]
            adjustment = cluster_adjustment(Q, power, start + i)
            scores[i] = adjustment.apply(Q.T @ fit.residuals[rows, outputs])
        yield scores


@dataclass(frozen=True, slots=True, eq=False)
class ClusterAdjustment:
    """(I − Q_gᵀQ_g)^(−p) of one cluster, in the span of its rows.

    Attributes
    ----------
    directions
        (r, k) right singular vectors of Q_g.
    squares
        (r,) squared singular values: the leverages of the cluster.
    gains
        (r,) what each direction is multiplied by, (1 − square)^(−p).
    """

    directions: FloatArray
    squares: FloatArray
    gains: FloatArray

    def apply(self, scores: FloatArray) -> FloatArray:
        """Adjust scores (k, b)."""
        along = (self.gains - 1.0)[:, None] * (self.directions @ scores)
        return np.asarray(scores + self.directions.T @ along)


def cluster_adjustment(Q: FloatArray, power: float, cluster: int) -> ClusterAdjustment:
    """Return the adjustment of the cluster with rows Q (n_g, k) of the basis.

    Raises
    ------
    InputError
        If a leverage of the cluster is 1 and p > 0.
    """
    _, values, directions = np.linalg.svd(Q, full_matrices=False)
    squares = np.square(values)
    if power and 1.0 - squares[0] <= FULL_LEVERAGE:
        raise InputError(
            f"Cluster {cluster} (from 0, in the order of the sorted labels) alone determines some "
            "coefficient, so that its residuals there are zero whatever their error; leave out the "
            "cluster or that regressor."
        )
    gains = (1.0 - squares) ** (-power) if power else np.ones_like(squares)
    return ClusterAdjustment(directions, squares, gains)


def cluster_members(codes: IntArray) -> list[IntArray]:
    """Rows of each cluster, from codes (n,) 0 … G − 1."""
    order = np.argsort(codes, kind="stable")
    if len(order) and codes.max() + 1 == len(order):
        return list(order[:, None])
    return list(np.split(order, np.cumsum(np.bincount(codes))[:-1]))


def output_slices(k: int, d: int) -> Iterator[slice]:
    """Cut d outputs so that the k × k meats of a slice fit in memory."""
    step = max(1, 4 * NUMBERS_AT_ONCE // k**2)
    for start in range(0, d, step):
        yield slice(start, min(start + step, d))
