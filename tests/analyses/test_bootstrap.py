"""Refits are honest refits, whole clusters are reweighted, and worlds are resampled as nested."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from sklearn.linear_model import Ridge

from concept_ppl.analyses import (
    RESULT_COLUMNS,
    canonical_correlations,
    cluster_bootstrap,
    decompose_states,
    goodness_of_fit,
    hierarchical_bootstrap,
)
from concept_ppl.analyses.bootstrap import weighted_mean
from concept_ppl.analyses.held_out import backward_share
from concept_ppl.analyses.refits import QUANTITIES, make_refitter, refit
from concept_ppl.analyses.ridge import PENALTIES
from concept_ppl.errors import InputError


def planted(n, d=6, q=2, seed=0):
    """Contrasts that are affine in states of unequal spread, up to noise."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, d)) * np.exp(0.5 * rng.normal(size=d))
    return F, F[:, :q] + 0.5 * rng.normal(size=(n, q)) + 2.0


def refitted(result):
    return [result.forward, result.backward, result.smallest, result.mean]


def backward_by_scikit_learn(F, Z, folds, weights, unit_of):
    """Nested ridge regression, one fit at a time."""
    K = folds.max() + 1

    def fitted(out, penalty):
        train = ~np.isin(folds, out)
        F_mean = np.average(F[train], axis=0, weights=weights[train])
        X = F[train] - F_mean
        unit = weights[train] @ (X @ unit_of[out]) ** 2
        model = Ridge(alpha=penalty * unit, solver="cholesky")
        return model.fit(F[train], Z[train], sample_weight=weights[train])

    sse = sst = 0.0
    for k in range(K):
        losses = np.zeros(len(PENALTIES))
        for j in set(range(K)) - {k}:
            test = folds == j
            for i, penalty in enumerate(PENALTIES):
                errors = Z[test] - fitted(tuple(sorted((j, k))), penalty).predict(F[test])
                losses[i] += weights[test] @ np.square(errors).sum(axis=1)
        test = folds == k
        errors = Z[test] - fitted((k,), PENALTIES[losses.argmin()]).predict(F[test])
        mean = np.average(Z[~test], axis=0, weights=weights[~test])
        sse += weights[test] @ np.square(errors).sum(axis=1)
        sst += weights[test] @ np.square(Z[test] - mean).sum(axis=1)
    return 1.0 - sse / sst


@pytest.mark.parametrize(("n", "d"), [(150, 6), (60, 90)])
def test_a_refit_at_the_weights_of_the_sample_is_the_sample_fit(n, d):
    F, Z = planted(n, d)
    rng = np.random.default_rng(1)
    clusters, weights = rng.integers(0, n // 2, size=n), rng.uniform(0.5, 2.0, size=n)
    states = decompose_states(F, weights=weights, clusters=clusters)
    fit, canonical = goodness_of_fit(states, Z), canonical_correlations(states, Z)
    expected = [fit.forward, fit.backward, canonical.smallest, canonical.mean]
    for reach in (1, None):
        found = refit(make_refitter(states, Z, reach), states.design.weights)
        np.testing.assert_allclose(found, [value.estimate for value in expected], rtol=1e-9)


def test_a_refit_under_other_weights_is_what_nested_scikit_learn_finds():
    F, Z = planted(80, 5, seed=2)
    states = decompose_states(F)
    refitter = make_refitter(states, Z, None)
    weights = np.random.default_rng(3).exponential(size=80)
    unit_of = {out: spectrum.vectors[:, -1] for out, spectrum in states.spectra.items()}
    assert set(unit_of) == {*((k,) for k in range(5)), *combinations(range(5), 2)}
    expected = backward_by_scikit_learn(states.F, Z, states.design.folds, weights, unit_of)
    found = dict(zip(QUANTITIES, refit(refitter, weights), strict=True))
    assert found["r2_backward"] == pytest.approx(expected, rel=1e-9)
    assert found["r2_backward"] != pytest.approx(refit(refitter, np.ones(80))[1], rel=1e-3)


def test_repeated_contexts_add_nothing_where_clusters_are_named_and_mislead_where_they_are_not():
    F, Z = planted(60, 4, seed=4)
    contexts = np.repeat(np.arange(60), 4)
    once = cluster_bootstrap(F, Z, n_refits=50)
    named = cluster_bootstrap(F[contexts], Z[contexts], clusters=contexts, n_refits=50)
    for a, b in zip(refitted(once), refitted(named), strict=True):
        assert (b.estimate, b.std_error) == pytest.approx((a.estimate, a.std_error), rel=1e-6)
    unnamed = cluster_bootstrap(F[contexts], Z[contexts], n_refits=50)
    assert unnamed.backward.std_error < 0.65 * named.backward.std_error


def test_the_spread_of_refits_is_that_of_new_samples():
    """On the scale log(1 − R²); without division by the weights' spread it would be half of it."""

    def sample(seed):
        rng = np.random.default_rng(seed)
        F = rng.normal(size=(60, 3))
        return F, F[:, :1] + 0.5 * rng.normal(size=(60, 1))

    states = [(decompose_states(F), Z) for F, Z in map(sample, range(80))]
    new = [np.log1p(-backward_share(F, Z, 0.95).estimate) for F, Z in states]
    found = [cluster_bootstrap(F, Z, n_refits=50, weight_sd=0.5).backward for F, Z in states[:3]]
    errors = [value.std_error / (1.0 - value.estimate) for value in found]
    assert 0.7 < np.mean(errors) / np.std(new) < 1.4


def test_the_interval_is_students_t_on_the_log_scale():
    F, Z = planted(90, seed=6)
    value = cluster_bootstrap(F, Z, n_refits=50, level=0.9).backward
    reach = stats.t.ppf(0.95, 89) * value.std_error / (1.0 - value.estimate)
    ends = 1.0 - (1.0 - value.estimate) * np.exp([reach, -reach])
    np.testing.assert_allclose([value.ci_low, value.ci_high], ends, rtol=1e-12)
    assert np.isnan(value.p_value)


def test_refits_are_the_same_for_any_number_of_workers_and_any_rotation_of_the_states():
    F, Z = planted(50, 4, seed=7)
    first = cluster_bootstrap(F, Z, n_refits=50, seed=3)
    assert cluster_bootstrap(F, Z, n_refits=50, seed=3, n_workers=3) == first
    assert cluster_bootstrap(F, Z, n_refits=50, seed=4) != first
    rotation = np.linalg.qr(np.random.default_rng(8).normal(size=(4, 4)))[0]
    turned = cluster_bootstrap(7.0 * F @ rotation + 3.0, Z, n_refits=50, seed=3)
    for a, b in zip(refitted(first), refitted(turned), strict=True):
        assert (b.estimate, b.std_error) == pytest.approx((a.estimate, a.std_error), rel=1e-6)


def test_refits_print_as_table_text_latex_and_figure():
    F, Z = planted(60, seed=9)
    result = cluster_bootstrap(F, Z, n_refits=50, layer="12")
    table = result.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert tuple(table["quantity"]) == QUANTITIES
    assert "50 refits" in result.summary()
    assert r"\toprule" in result.to_latex()
    assert isinstance(result.plot(), Figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_refits": 10}, "n_refits is 10"),
        ({"weight_sd": 0.0}, "weight_sd is 0"),
        ({"n_workers": 0}, "n_workers is 0"),
        ({"level": 95.0}, "level is 95"),
    ],
)
def test_refits_out_of_range_are_refused(arguments, message):
    F, Z = planted(40)
    with pytest.raises(InputError, match=message):
        cluster_bootstrap(F, Z, **{"n_refits": 50} | arguments)
    with pytest.raises(InputError, match="Z has 2 contrasts"):
        cluster_bootstrap(F[:, :1], Z)


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
