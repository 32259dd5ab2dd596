"""Intervals of the map cover, its joint tests keep their size, and it says what it cannot do."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from concept_ppl.analyses import RESULT_COLUMNS, linear_map, rank_tests, stream_linear_map
from concept_ppl.analyses.regression import stored_rows
from concept_ppl.errors import InputError

TAIL = 1e-4


def assert_rate(hits, trials, low, high):
    """A true rate within [low, high] passes but for two seeds in ten thousand."""
    assert stats.binom.ppf(TAIL, trials, low) <= hits <= stats.binom.isf(TAIL, trials, high)


def heteroskedastic(n, d, seed, slope=1.0):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    errors = rng.normal(size=(n, d)) * (0.4 + np.square(Z[:, :1]))
    return slope * Z[:, :1] + errors, Z


def test_hc3_intervals_cover_and_those_of_an_inflated_error_would_be_told_apart():
    # Outputs with independent errors are replications on one design.
    hits = inflated = trials = 0
    for seed in range(20):
        F, Z = heteroskedastic(300, 400, seed)
        found = linear_map(F, Z, level=0.9)
        centre = found.coefficients[1]
        reach = found.inference.ci_high[1] - centre
        hits += (np.abs(centre - 1.0) <= reach).sum()
        inflated += (np.abs(centre - 1.0) <= 1.1 * reach).sum()
        trials += 400
    assert_rate(hits, trials, 0.885, 0.905)
    assert inflated > stats.binom.isf(TAIL, trials, 0.905)


def test_cr2_intervals_cover_with_twelve_clusters():
    clusters = np.repeat(np.arange(12), 6)
    hits = trials = 0
    for seed in range(15):
        rng = np.random.default_rng(seed)
        Z = rng.uniform(-1, 1, size=(12, 1))[clusters] + rng.normal(size=(len(clusters), 1))
        shared = rng.normal(size=(12, 200))[clusters]
        F = 2.0 * Z + shared + rng.normal(size=(len(clusters), 200))
        found = linear_map(F, Z, clusters=clusters, covariance="CR2").inference
        hits += ((found.ci_low[1] <= 2.0) & (found.ci_high[1] >= 2.0)).sum()
        trials += 200
    assert_rate(hits, trials, 0.935, 0.965)


@pytest.mark.slow
@pytest.mark.parametrize("covariance", ["HC3", "CR2"])
def test_the_joint_test_of_all_outputs_keeps_its_size_though_they_are_dependent(covariance):
    rejected, trials = 0, 250
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        F = rng.normal(size=(48, 4)) @ rng.normal(size=(4, 4))
        Z = rng.normal(size=(48, 2))
        clusters = None if covariance == "HC3" else np.arange(48) // 2
        test = linear_map(F, Z, covariance=covariance, clusters=clusters).joint
        assert test.df_num == 8
        rejected += test.p_value <= 0.05
    assert_rate(rejected, trials, 0.03, 0.07)


def test_the_joint_test_does_not_depend_on_the_basis_of_the_states():
    F, Z = heteroskedastic(90, 3, 0)
    turned = F @ np.random.default_rng(1).normal(size=(3, 3)) + 5.0
    for options in ({"covariance": "HC3"}, {"covariance": "CR2", "clusters": np.arange(90) // 2}):
        one, other = (linear_map(states, Z, **options).joint for states in (F, turned))
        assert other.statistic == pytest.approx(one.statistic, rel=1e-8)
        assert other.df_denom == pytest.approx(one.df_denom, rel=1e-12)


def test_with_one_output_the_joint_test_is_that_of_the_output():
    F, Z = heteroskedastic(60, 1, 0)
    clusters = np.arange(60) // 2
    for options in ({}, {"clusters": clusters, "covariance": "CR2"}):
        found = linear_map(F, Z, **options)
        assert found.joint == found.per_output[0]
    wild = linear_map(F, Z, clusters=clusters, covariance="wild", n_draws=199)
    assert wild.joint.p_value == wild.per_output[0].p_value
    streamed = stream_linear_map(stored_rows(F, Z))
    assert streamed.joint == streamed.per_output[0]


def test_the_joint_test_finds_a_slope_that_is_there():
    F, Z = heteroskedastic(200, 3, 0)
    assert linear_map(F, Z).joint.p_value < 1e-6
    assert linear_map(F, Z, direction="backward").joint.p_value < 0.01


def test_too_many_slopes_at_once_are_an_invalid_test_with_its_reason():
    F, Z = heteroskedastic(60, 40, 0)
    joint = linear_map(F, Z).joint
    assert "cannot test 80 slopes together" in joint.invalid_because
    assert np.isnan(joint.p_value)
    F, Z = heteroskedastic(60, 1_100, 0)
    assert linear_map(F, Z).joint.invalid_because == "2200 slopes together are more than 2048"


def test_fewer_clusters_than_coefficients_give_coefficients_without_intervals():
    F, Z = heteroskedastic(60, 3, 0)
    clusters = np.arange(60) % 4
    wide = linear_map(F, np.hstack([Z, Z**2]), clusters=clusters, covariance="CR2")
    because = "4 clusters are fewer than the 5 coefficients of each output"
    assert wide.inference.invalid_because == because
    assert np.isnan(wide.std_errors).all()
    assert {test.invalid_because for test in (*wide.per_output, wide.joint)} == {because}
    assert because in wide.summary()
    plain = linear_map(F, np.hstack([Z, Z**2]))
    np.testing.assert_array_equal(wide.coefficients, plain.coefficients)
    assert isinstance(wide.plot(), Figure)


def test_hc3_refuses_rows_that_share_clusters():
    F, Z = heteroskedastic(60, 3, 0)
    with pytest.raises(InputError, match="HC3 takes rows as independent"):
        linear_map(F, Z, clusters=np.arange(60) // 2)


def test_tidy_has_a_row_a_coefficient_and_one_a_test():
    F, Z = heteroskedastic(50, 3, 0)
    found = linear_map(F, Z, names=["fr", "de"], layer="block_4")
    table = found.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert len(table) == 3 * 3 + 3 + 1
    row = table[table["term"] == "log_odds:f2:de"].iloc[0]
    assert row["estimate"] == found.coefficients[2, 1]
    assert row["ci_low"] < row["estimate"] < row["ci_high"]
    assert set(table["layer"]) == {"block_4"}
    assert table["p_value"].iloc[-1] == found.joint.p_value


def test_summary_is_short_and_the_rest_is_drawn_or_written():
    F, Z = heteroskedastic(50, 3, 0)
    found = linear_map(F, Z)
    assert "3 outputs on 3 coefficients; 50 rows, 50 clusters" in found.summary()
    assert len(found.summary().splitlines()) == 5
    assert isinstance(found.plot(), Figure)
    assert found.to_latex().count(r"\\") == 1 + len(found.tidy())


def test_the_answer_is_frozen():
    F, Z = heteroskedastic(50, 3, 0)
    found = linear_map(F, Z)
    for values in (found.coefficients, found.std_errors, found.inference.ci_low, found.r_squared):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0.0


def test_two_clusters_need_no_folds_and_one_is_refused_in_its_own_words():
    rng = np.random.default_rng(0)
    F, Z = rng.normal(size=(40, 2)), rng.normal(size=(40, 1))
    with pytest.warns(UserWarning, match="2 clusters are few"):
        found = linear_map(F, Z, clusters=np.arange(40) % 2, covariance="wild")
    assert found.n_clusters == 2
    with pytest.raises(InputError, match=r"All rows are one cluster.*give at least 2") as raised:
        linear_map(F, Z, clusters=np.zeros(40), covariance="CR1")
    assert "fold" not in str(raised.value)
    with pytest.raises(InputError, match="All rows are one cluster"):
        rank_tests(F, Z, clusters=np.zeros(40))
