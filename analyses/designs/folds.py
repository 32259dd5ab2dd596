"""Which contexts are held out together: K folds of near-equal size that split no cluster."""

import heapq

import numpy as np
import numpy.typing as npt

from concept_ppl.errors import InputError


def cluster_folds(
    clusters: npt.NDArray[np.int64], n_folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """Deal whole clusters to folds, largest first, each to the fold with the fewest rows so far.

    Longest-processing-time scheduling (Graham 1969, https://doi.org/10.1137/0117039): no fold
    exceeds the smallest one by more rows than the cluster that it received last has.

    Parameters
    ----------
    clusters
        (n,) codes 0 … G − 1 of the cluster of each row.
    n_folds
        Number of folds K.
    seed
        Seeds the order of clusters of equal size, and with it the folds.

    Returns
    -------
    folds
        (n,) integers 0 … K − 1.

    Raises
    ------
    InputError
        If there are fewer clusters than folds.
    """
    sizes = np.bincount(clusters)
    if len(sizes) < n_folds:
        raise InputError(
            f"There are {len(sizes)} clusters for {n_folds} folds; give at least {n_folds} "
            "clusters or fewer folds."
        )
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    lightest = [(0, fold) for fold in range(n_folds)]
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for cluster in order:
        rows, fold = lightest[0]
        fold_of[cluster] = fold
        heapq.heapreplace(lightest, (rows + int(sizes[cluster]), fold))
    return fold_of[clusters]
