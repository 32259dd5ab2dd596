"""What comes in: arrays of any library as checked float64 matrices, with the names they bring."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from concept_ppl.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RANK_TOLERANCE = 1e-8
ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Of the size of a number, what is noise of its last digits: a spread below it is none."""
NORMALISED_TOLERANCE = 1e-6


def check_states(F: npt.ArrayLike, name: str = "F") -> FloatArray:
    """Return ``F`` as a finite float64 matrix (n, d), or say what is wrong with it.

    Raises
    ------
    InputError
        If it is not a matrix or holds NaN or infinity (row and column are named).
    """
    return as_matrix(F, name)


def check_contrasts(
    Z: npt.ArrayLike, n: int, names: Sequence[str] | None = None
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return ``Z`` as a float64 matrix (n, q) of full column rank, with a name for each column.

    Names are those that the caller gives, else those that a DataFrame or a named Series brings,
    else ``z1, z2, …``.

    Raises
    ------
    InputError
        If the lengths differ, an entry is not finite, a column is constant, columns are collinear,
        or columns are the raw log-probabilities of every value of a concept.
    """
    matrix = as_matrix(Z, "Z")
    if len(matrix) != n:
        raise InputError(f"Z has {len(matrix)} rows, F has {n}; give one row a context to both.")
    q = matrix.shape[1]
    labels = tuple(names) if names is not None else column_names(Z, "z", q)
    if len(labels) != q:
        raise InputError(f"names has {len(labels)} entries, Z has {q} columns.")
    spread = matrix.std(axis=0)
    flat = np.flatnonzero(~varies(spread, matrix))
    if flat.size:
        raise InputError(f"Column {flat[0]} of Z ({labels[flat[0]]}) is constant; leave it out.")
    _refuse_raw_log_probabilities(matrix, labels)
    values = np.linalg.svd((matrix - matrix.mean(axis=0)) / spread, compute_uv=False)
    if q > n or values[-1] <= RANK_TOLERANCE * values[0]:
        rank = int(np.sum(values > RANK_TOLERANCE * values[0]))
        raise InputError(
            f"The {q} columns of Z are collinear (rank {rank}); give contrasts instead: log-odds "
            "against a reference value, or probabilities without the last value of each concept."
        )
    return matrix, labels


def varies(spread: FloatArray, columns: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether columns (n, q) spread (q,) by more than float64 can hold beside their size."""
    return np.asarray(spread > ROUNDING * np.abs(columns).max(axis=0))


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1)."""
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}; a confidence level lies between 0 and 1.")


def column_names(values: object, prefix: str, n_columns: int) -> tuple[str, ...]:
    """Names that a DataFrame's columns or a Series bring, else ``prefix`` and the column's number.

    Levels of a name (a MultiIndex) are joined by a point, as in ``log_odds.mood``.
    """
    own: Sequence[Any] = ()
    if isinstance(values, pd.DataFrame):
        own = tuple(values.columns)
    elif isinstance(values, pd.Series) and values.name is not None:
        own = (values.name,)
    if not own or list(own) == list(range(n_columns)):  # numbers that pandas put there itself
        return tuple(f"{prefix}{i + 1}" for i in range(n_columns))
    return tuple(".".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in own)


def as_matrix(values: npt.ArrayLike, name: str) -> FloatArray:
    """Return an array of any library as a finite float64 matrix; a vector becomes one column.

    NumPy arrays and memory maps, pandas, lists, and tensors of torch on any device and in any
    precision.

    Raises
    ------
    InputError
        If it is complex, no matrix, empty, or holds NaN or infinity; ``name`` is how it is called.
    """
    matrix = _real(values, name)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(
            f"{name} has shape {matrix.shape}; it must be (contexts, columns), neither of them 0."
        )
    bad = np.argwhere(~np.isfinite(matrix))
    if bad.size:
        row, column = bad[0]
        raise InputError(
            f"{name} holds {matrix[row, column]} at row {row}, column {column} "
            f"({len(bad)} such entries); leave out or repair these rows."
        )
    return matrix


def as_vector(values: npt.ArrayLike, n: int, name: str) -> npt.NDArray[Any]:
    """Return labels or weights as an array (n,), whatever their type.

    Raises
    ------
    InputError
        If there are more or fewer than ``n``.
    """
    vector = np.asarray(on_cpu(values))
    if vector.shape != (n,):
        raise InputError(f"{name} has shape {vector.shape}; it must be ({n},), one a row of F.")
    return vector


def on_cpu(values: Any) -> Any:
    """Return a tensor of torch as an array of NumPy, from any device; anything else as it is."""
    if hasattr(values, "detach"):
        held = values.detach().cpu()
        return (held.float() if str(held.dtype) == "torch.bfloat16" else held).numpy()
    return values


def _real(values: npt.ArrayLike, name: str) -> FloatArray:
    try:
        array = np.asarray(on_cpu(values))
        if np.iscomplexobj(array):
            raise InputError(
                f"{name} is complex; give real numbers, such as real and imaginary parts side by "
                "side."
            )
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be read as numbers: {error}.") from error


def _refuse_raw_log_probabilities(Z: FloatArray, labels: tuple[str, ...]) -> None:
    """Find neighbouring columns whose exponentials sum to one in every row."""
    if len(Z) < 3 or np.all(Z.max(axis=0) > 0):
        return
    sums = np.cumsum(np.exp(np.minimum(Z, 1.0)), axis=1)
    sums = np.hstack([np.zeros((len(Z), 1)), sums])
    for first in range(Z.shape[1] - 1):
        gaps = np.abs(sums[:, first + 2 :] - sums[:, [first]] - 1.0).max(axis=0)
        hits = np.flatnonzero(gaps < NORMALISED_TOLERANCE)
        if hits.size:
            raise InputError(
                f"Columns {first} to {first + 1 + hits[0]} of Z ({labels[first]} …) are the raw "
                "log-probabilities of every value of a concept, collinear up to their nonlinear "
                "normaliser; give contrasts instead: log-odds against a reference value."
            )
