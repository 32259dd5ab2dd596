"""Which rows count how much, which belong together, and which are held out together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from concept_ppl.errors import InputError

from .arrays import FloatArray, IntArray, as_vector, on_cpu
from .folds import cluster_folds


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
    is_plain
        Whether neither weights nor clusters were given, so that rows may be repeats unsaid.
    """

    weights: FloatArray
    clusters: IntArray
    folds: IntArray
    n_clusters: int
    n_folds: int
    is_plain: bool = False

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
    mass = _mass(weights, n)
    codes = cluster_codes(clusters, n)
    folds = cluster_folds(codes, n_folds, seed)
    is_plain = weights is None and clusters is None
    return Design(mass, codes, folds, int(codes.max()) + 1, n_folds, is_plain)


def make_whole_design(
    n: int, *, weights: npt.ArrayLike | None = None, clusters: npt.ArrayLike | None = None
) -> Design:
    """Check weights and clusters for what is estimated on all rows at once: one fold, all rows.

    Parameters
    ----------
    n, weights, clusters
        As in `make_design`.

    Raises
    ------
    InputError
        If lengths differ, a weight is not positive and finite, or all rows are one cluster.
    """
    codes = cluster_codes(clusters, n)
    n_clusters = int(codes.max()) + 1
    if n_clusters < 2:
        raise InputError(
            "All rows are one cluster, which tells no standard error; give at least 2 clusters."
        )
    return Design(_mass(weights, n), codes, np.zeros(n, np.int64), n_clusters, 1)


def _mass(weights: npt.ArrayLike | None, n: int) -> FloatArray:
    """Return positive, finite weights (n,) of mean 1."""
    mass = np.ones(n) if weights is None else as_vector(weights, n, "weights").astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(mass) & (mass > 0)))
    if bad.size:
        raise InputError(
            f"weights holds {mass[bad[0]]} at row {bad[0]}; weights must be positive and finite."
        )
    return np.asarray(mass / mass.mean())


def cluster_codes(clusters: npt.ArrayLike | None, n: int) -> IntArray:
    """Codes 0 … G − 1 (n,) of cluster labels of any kind; each row its own cluster if None.

    Raises
    ------
    InputError
        If the lengths differ or a label is missing (NaN, None).
    """
    if clusters is None:
        return np.arange(n, dtype=np.int64)
    labels = as_vector(clusters, n, "clusters")
    # As objects: NumPy writes a missing label among text as the word "nan".
    missing = np.flatnonzero(pd.isna(np.asarray(on_cpu(clusters), dtype=object)))
    if missing.size:
        raise InputError(
            f"clusters holds no label at row {missing[0]} ({len(missing)} such rows); a missing "
            "label is no cluster: leave these rows out or label them."
        )
    _, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int64)
