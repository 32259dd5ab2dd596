"""Shares of cases: their limits stay between 0 and 1, and cover near both."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from concept_ppl.analyses import clustering_agreement
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.designs.intervals import share_limits, share_of_cases
from concept_ppl.analyses.pairs.intervals import share_estimate

LEVEL = 0.95


def limits(hits, **design):
    value = share_of_cases(np.asarray(hits, float), make_design(len(hits), **design), LEVEL)
    return value.ci_low, value.ci_high


@pytest.mark.parametrize("right", [0, 1, 3, 50, 98, 100])
def test_of_independent_cases_the_limits_are_those_of_clopper_and_pearson(right):
    hits = np.arange(100) < right
    wanted = proportion_confint(right, 100, method="beta")
    assert limits(hits) == pytest.approx(wanted, abs=1e-9)


def test_all_right_is_not_certainty():
    low, high = limits(np.ones(100))
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 100))
    assert limits(np.zeros(100)) == pytest.approx((0.0, 1 - low))


def test_limits_never_leave_the_range():
    low, high = limits(np.arange(150) >= 3)  # .980, where 1.96 standard errors reach 1.002
    assert 0.94 < low < 0.96
    assert 0.99 < high < 1.0


def test_copies_of_a_case_in_its_cluster_tell_nothing_new():
    hits = np.random.default_rng(0).random(60) < 0.8
    once = limits(hits)
    thrice = limits(np.repeat(hits, 3), clusters=np.repeat(np.arange(60), 3))
    assert thrice[0] <= once[0] + 1e-9
    assert once[1] <= thrice[1] + 1e-9
    assert limits(np.ones(180), clusters=np.repeat(np.arange(60), 3)) == pytest.approx(
        limits(np.ones(60))
    )


def test_a_weight_counts_in_the_share_and_unequal_ones_widen():
    weights = np.where(np.arange(100) < 10, 20.0, 1.0)
    value = share_of_cases(np.ones(100), make_design(100, weights=weights), LEVEL)
    size = weights.sum() ** 2 / (weights @ weights)
    assert value.ci_low == pytest.approx(0.025 ** (1 / size))
    part = share_of_cases((np.arange(100) < 10) * 1.0, make_design(100, weights=weights), LEVEL)
    assert part.estimate == pytest.approx(200 / 290)


@pytest.mark.parametrize("truth", [0.005, 0.02, 0.5, 0.98, 0.995])
@pytest.mark.parametrize("size", [1, 4])
def test_limits_cover_near_the_edges_too(truth, size):
    """Cases alone, and in clusters of four whose cases agree half of the time."""
    rng = np.random.default_rng(3)
    n_clusters, covered, wald = 120, 0, 0
    clusters = np.repeat(np.arange(n_clusters), size)
    design = make_design(len(clusters), clusters=clusters)
    draws = 400
    for _ in range(draws):
        common = rng.random(n_clusters)[clusters] < truth
        own = rng.random(len(clusters)) < truth
        hits = np.where(rng.random(n_clusters)[clusters] < 0.5, common, own)
        value = share_of_cases(hits.astype(float), design, LEVEL)
        covered += value.ci_low <= truth <= value.ci_high
        wald += abs(value.estimate - truth) <= 1.96 * value.std_error
    assert covered / draws > 0.94, covered / draws
    if truth in (0.005, 0.995):
        assert wald / draws < 0.8  # what the interval of a mean would do


def test_every_share_has_these_limits():
    pairs = share_estimate(1.0, np.zeros(30), LEVEL, 40, 30)
    assert (pairs.ci_low, pairs.ci_high) == share_limits(1.0, 30, LEVEL)
    groups = clustering_agreement([0] * 50 + [1] * 50, [1] * 50 + [0] * 50).accuracy
    assert (groups.ci_low, groups.ci_high) == share_limits(1.0, 100, LEVEL)
