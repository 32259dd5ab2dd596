"""Shares of rows: an interval at 0 and 1 too, and one that knows how many units there are."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.designs.shares import cluster_mean, cluster_proportion


def test_of_independent_rows_it_is_wilsons_interval():
    hits = np.arange(2000) < 300
    found = cluster_proportion(hits, make_design(2000), 0.95)
    low, high = proportion_confint(300, 2000, method="wilson")
    assert found.estimate == 0.15
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=2e-4)


@pytest.mark.parametrize("share", [False, True])
def test_where_all_agree_clusters_count_and_not_their_rows(share):
    hits, clusters = np.full(200, share), np.arange(200) // 10
    found = cluster_proportion(hits, make_design(200, clusters=clusters), 0.95)
    low, high = proportion_confint(20 * share, 20, method="wilson")
    assert found.estimate == float(share)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=0.02)
    assert found.ci_low >= 0
    assert found.ci_high <= 1


def test_copies_of_rows_change_nothing():
    hits = np.arange(60) % 3 == 0
    once = cluster_proportion(hits, make_design(60), 0.9)
    clusters = np.repeat(np.arange(60), 4)
    often = cluster_proportion(np.repeat(hits, 4), make_design(240, clusters=clusters), 0.9)
    assert (often.ci_low, often.ci_high) == pytest.approx((once.ci_low, once.ci_high))


@pytest.mark.parametrize(("p", "most"), [(0.03, 0.99), (0.1, 0.98), (0.5, 0.97), (0.9, 0.98)])
def test_it_covers_where_clusters_agree_within(p, most):
    """Rare hits that share a few clusters are covered too often, not too seldom."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        rates = rng.beta(2 * p, 2 * (1 - p), 60)
        hits = rng.random((60, 5)) < rates[:, None]
        design = make_design(300, clusters=np.repeat(np.arange(60), 5))
        found = cluster_proportion(hits.ravel(), design, 0.95)
        covered += found.ci_low <= p <= found.ci_high
    assert 0.93 <= covered / 1000 <= most


def test_a_mean_is_weighted_and_has_no_test():
    values, weights = np.arange(10.0), np.arange(1.0, 11.0)
    found = cluster_mean(values, make_design(10, weights=weights), 0.95)
    assert found.estimate == pytest.approx(np.average(values, weights=weights))
    assert np.isnan(found.p_value)
