"""Folds hold whole clusters out, in near-equal parts."""

import numpy as np
import pytest

from concept_ppl.analyses.designs.folds import cluster_folds
from concept_ppl.errors import InputError


def test_no_cluster_lies_in_two_folds_and_folds_are_balanced():
    sizes = np.random.default_rng(0).integers(1, 9, size=60)
    clusters = np.repeat(np.arange(60), sizes)
    folds = cluster_folds(clusters, 5, seed=1)
    assert all(len(set(folds[clusters == g])) == 1 for g in range(60))
    rows = np.bincount(folds, minlength=5)
    assert rows.max() - rows.min() <= sizes.max()


def test_single_rows_give_folds_that_differ_by_one_row_at_most():
    rows = np.bincount(cluster_folds(np.arange(52), 5, seed=0))
    assert rows.max() - rows.min() == 1


def test_the_seed_alone_decides_the_folds():
    clusters = np.arange(40)
    assert np.array_equal(cluster_folds(clusters, 4, 7), cluster_folds(clusters, 4, 7))
    assert not np.array_equal(cluster_folds(clusters, 4, 7), cluster_folds(clusters, 4, 8))


def test_fewer_clusters_than_folds_are_refused():
    with pytest.raises(InputError, match="2 clusters for 3 folds"):
        cluster_folds(np.array([0, 0, 1, 1]), 3, seed=0)
