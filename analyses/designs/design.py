"""Which rows count how much, which belong together, and which are held out together: the door."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from concept_ppl.errors import InputError

from .folds import cluster_folds

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RANK_TOLERANCE = 1e-8
NORMALISED_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The sampling design that every analysis of the same contexts shares.

    Attributes
    ----------
    weights
        (n,) positive, mean 1.
    clusters
        (n,) codes 0 … n_clusters − 1 of the independent units.
    folds
        (n,) fold in which each row is held out; no cluster lies in two.
    n_clusters, n_folds
        How many of each.
    """

    weights: FloatArray
    clusters: IntArray
    folds: IntArray
    n_clusters: int
    n_folds: int

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.folds)

    @property
    def members(self) -> list[IntArray]:
        """Rows of each fold."""
        return [np.flatnonzero(self.folds == k) for k in range(self.n_folds)]

    def same_as(self, other: "Design") -> bool:
        """Whether rows are weighted, clustered and held out alike in both designs."""
        return (
            np.array_equal(self.weights, other.weights)
            and np.array_equal(self.clusters, other.clusters)
            and np.array_equal(self.folds, other.folds)
        )

    def cluster_sums(self, values: FloatArray) -> FloatArray:
        """Weighted sums of ``values`` (n,) over the rows of each cluster, (n_clusters,)."""
        return np.bincount(
            self.clusters, weights=self.weights * values, minlength=self.n_clusters
        ).astype(np.float64)


def make_design(
    n: int,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> Design:
    """Check weights and clusters against ``n`` rows and draw the folds.

    Parameters
    ----------
    n
        Number of rows.
    weights
        (n,) positive and finite; 1 for every row by default.
    clusters
        (n,) labels of any kind; rows with the same label are one independent unit (repeats of the
        same context, pairs that share a lemma). By default each row is its own cluster.
    n_folds, seed
        Number of folds, at least 3 because tuning is nested, and the seed that draws them.

    Raises
    ------
    InputError
        If lengths differ, a weight is not positive and finite, or clusters are too few.
    """
    if n_folds < 3:
        raise InputError(f"n_folds is {n_folds}; nested tuning needs at least 3 folds.")
    mass = np.ones(n) if weights is None else _vector(weights, n, "weights").astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(mass) & (mass > 0)))
    if bad.size:
        raise InputError(
            f"weights holds {mass[bad[0]]} at row {bad[0]}; weights must be positive and finite."
        )
    codes = cluster_codes(clusters, n)
    folds = cluster_folds(codes, n_folds, seed)
    return Design(mass / mass.mean(), codes, folds, int(codes.max()) + 1, n_folds)


def cluster_codes(clusters: npt.ArrayLike | None, n: int) -> IntArray:
    """Codes 0 … G − 1 (n,) of cluster labels of any kind; each row its own cluster if None."""
    if clusters is None:
        return np.arange(n, dtype=np.int64)
    _, codes = np.unique(_vector(clusters, n, "clusters"), return_inverse=True)
    return codes.astype(np.int64)


def check_states(F: npt.ArrayLike, name: str = "F") -> FloatArray:
    """Return ``F`` as a finite float64 matrix (n, d), or say what is wrong with it.

    Raises
    ------
    InputError
        If it is not a matrix or holds NaN or infinity (row and column are named).
    """
    return _matrix(F, name)


def check_contrasts(
    Z: npt.ArrayLike, n: int, names: Sequence[str] | None = None
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return ``Z`` as a float64 matrix (n, q) of full column rank, with a name for each column.

    Raises
    ------
    InputError
        If the lengths differ, an entry is not finite, a column is constant, columns are collinear,
        or columns are the raw log-probabilities of every value of a concept.
    """
    matrix = _matrix(Z, "Z")
    if len(matrix) != n:
        raise InputError(f"Z has {len(matrix)} rows, F has {n}; give one row a context to both.")
    q = matrix.shape[1]
    labels = tuple(names) if names is not None else tuple(f"z{i + 1}" for i in range(q))
    if len(labels) != q:
        raise InputError(f"names has {len(labels)} entries, Z has {q} columns.")
    spread = matrix.std(axis=0)
    flat = np.flatnonzero(spread <= RANK_TOLERANCE * np.abs(matrix).max(axis=0))
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


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1)."""
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}; a confidence level lies between 0 and 1.")


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


def _matrix(values: npt.ArrayLike, name: str) -> FloatArray:
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be read as numbers: {error}.") from error
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


def _vector(values: npt.ArrayLike, n: int, name: str) -> npt.NDArray[Any]:
    vector = np.asarray(values)
    if vector.shape != (n,):
        raise InputError(f"{name} has shape {vector.shape}; it must be ({n},), one a row of F.")
    return vector
