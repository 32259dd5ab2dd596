"""Worlds, models and clusters are resampled as they are nested, and few worlds are called few."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from concept_ppl.analyses import RESULT_COLUMNS, hierarchical_bootstrap
from concept_ppl.analyses.designs.hierarchical import weighted_mean
from concept_ppl.errors import InputError


def nested(n_worlds=6, n_models=4, seed=0):
    """Values of models in worlds: the world is most of their spread."""
    rng = np.random.default_rng(seed)
    worlds = np.repeat(np.arange(n_worlds), n_models)
    models = np.tile(np.arange(n_models), n_worlds)
    values = rng.normal(size=n_worlds)[worlds] + 0.5 * rng.normal(size=len(worlds))
    return values, {"world": worlds, "model": models}


def test_worlds_alone_give_the_t_interval_of_their_means():
    values, levels = nested()
    means = values.reshape(6, 4).mean(axis=1)
    found = hierarchical_bootstrap(values, levels, within=False, n_replicates=4000)
    test = stats.ttest_1samp(means, 0.0)
    assert found.value.estimate == pytest.approx(means.mean(), rel=1e-12)
    assert found.value.std_error == pytest.approx(stats.sem(means), rel=0.04)
    low, high = test.confidence_interval(0.95)
    np.testing.assert_allclose([found.value.ci_low, found.value.ci_high], [low, high], atol=0.03)
    assert found.test.distribution == "t"
    assert found.test.p_value == pytest.approx(test.pvalue, abs=0.02)
    between = found.percentile[1] - found.percentile[0]
    assert between < 0.85 * (found.value.ci_high - found.value.ci_low)


def test_resampling_below_adds_the_spread_within_worlds_and_no_more():
    values, levels = nested(seed=1)
    table = values.reshape(6, 4)
    within = table.var(axis=1).mean() / 4
    variance = (table.mean(axis=1).var() + within) / 6
    found = hierarchical_bootstrap(values, levels, n_replicates=4000).value
    assert found.std_error**2 == pytest.approx(variance * 6 / 5, rel=0.08)
    rows_as_worlds = hierarchical_bootstrap(values, {"row": np.arange(24)}, n_replicates=2000)
    assert rows_as_worlds.value.std_error < 0.7 * found.std_error


def test_every_world_counts_alike_whatever_its_size():
    values = np.array([0.0] * 10 + [1.0, 2.0, 3.0, 4.0])
    worlds = np.array(["a"] * 10 + ["b", "c", "d", "e"])
    found = hierarchical_bootstrap(values, {"world": worlds}, n_replicates=50)
    assert found.value.estimate == pytest.approx(2.0)
    assert found.value.n_clusters == 5


def test_a_label_belongs_to_its_parent():
    values, levels = nested()
    apart = levels | {"model": np.arange(24)}
    found = hierarchical_bootstrap(values, levels, n_replicates=60)
    assert found.units == (("world", 6), ("model", 24))
    assert hierarchical_bootstrap(values, apart, n_replicates=60) == found


def test_four_worlds_have_no_interval_and_say_why():
    values, levels = nested(n_worlds=4)
    found = hierarchical_bootstrap(values, levels, n_replicates=60)
    assert np.isnan([found.value.ci_low, found.value.ci_high, found.value.p_value]).all()
    assert "4 units of world are too few" in found.why_no_interval
    assert found.test.invalid_because in found.summary()


def test_replicates_are_the_same_for_any_number_of_workers():
    values, levels = nested()

    def median(rows, weights):
        order = np.argsort(rows)
        return rows[order][np.searchsorted(np.cumsum(weights[order]), 0.5)]

    results = [
        hierarchical_bootstrap(
            values, levels, statistic=median, n_replicates=100, seed=2, n_workers=n
        )
        for n in (1, 2, 5)
    ]
    assert results[0] == results[1] == results[2]
    assert results[0].test.is_valid
    assert tuple(results[0].tidy().columns) == RESULT_COLUMNS
    assert r"\toprule" in results[0].to_latex()
    assert isinstance(results[0].plot(), Figure)


def test_worlds_that_do_not_vary_leave_nothing_to_test():
    found = hierarchical_bootstrap(np.full(6, 0.3), {"world": np.arange(6)}, n_replicates=50)
    assert (found.value.ci_low, found.value.ci_high) == pytest.approx((0.3, 0.3))
    assert "does not vary" in found.test.invalid_because


@pytest.mark.parametrize(
    ("values", "levels", "message"),
    [
        ([1.0, np.nan], {"world": [0, 1]}, "finite"),
        ([1.0, 2.0], {}, "levels is empty"),
        ([1.0, 2.0], {"world": [0]}, "Level world"),
    ],
)
def test_nested_samples_that_cannot_be_read_are_refused(values, levels, message):
    with pytest.raises(InputError, match=message):
        hierarchical_bootstrap(values, levels, statistic=weighted_mean)
