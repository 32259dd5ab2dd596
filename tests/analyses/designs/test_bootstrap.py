"""Refits are honest refits, and whole clusters are reweighted."""

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
)
from concept_ppl.analyses.designs.cross_fits import PENALTIES
from concept_ppl.analyses.designs.refits import QUANTITIES, make_refitter, refit
from concept_ppl.analyses.designs.shares import backward_share
from concept_ppl.distributed import Machines, hired
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
    for slack in (0.01, np.inf):
        found = refit(make_refitter(states, Z, slack), states.design.weights)
        np.testing.assert_allclose(found, [value.estimate for value in expected], rtol=1e-9)


def test_a_refit_under_other_weights_is_what_nested_scikit_learn_finds():
    F, Z = planted(80, 5, seed=2)
    states = decompose_states(F)
    refitter = make_refitter(states, Z, np.inf)
    weights = np.random.default_rng(3).exponential(size=80)
    unit_of = {out: spectrum.vectors[:, -1] for out, spectrum in states.spectra.items()}
    assert set(unit_of) == {*((k,) for k in range(5)), *combinations(range(5), 2)}
    expected = backward_by_scikit_learn(states.F, Z, states.design.folds, weights, unit_of)
    found = dict(zip(QUANTITIES, refit(refitter, weights), strict=True))
    assert found["r2_backward"] == pytest.approx(expected, rel=1e-9)
    assert found["r2_backward"] != pytest.approx(refit(refitter, np.ones(80))[1], rel=1e-3)


@pytest.mark.filterwarnings("ignore:.* are exact copies")
def test_repeated_contexts_add_nothing_where_clusters_are_named_and_mislead_where_they_are_not():
    F, Z = planted(60, 4, seed=4)
    contexts = np.repeat(np.arange(60), 4)
    once = cluster_bootstrap(F, Z, n_refits=50, n_folds=3)
    named = cluster_bootstrap(F[contexts], Z[contexts], clusters=contexts, n_refits=50, n_folds=3)
    for a, b in zip(refitted(once), refitted(named), strict=True):
        assert (b.estimate, b.std_error) == pytest.approx((a.estimate, a.std_error), rel=1e-6)
    unnamed = cluster_bootstrap(F[contexts], Z[contexts], n_refits=50, n_folds=3)
    assert unnamed.backward.std_error < 0.65 * named.backward.std_error


def test_the_spread_of_refits_is_that_of_new_samples():
    """On the scale log(1 − R²); without division by the weights' spread it would be half of it."""

    def sample(seed):
        rng = np.random.default_rng(seed)
        F = rng.normal(size=(60, 3))
        return F, F[:, :1] + 0.5 * rng.normal(size=(60, 1))

    states = [(decompose_states(F, n_folds=3), Z) for F, Z in map(sample, range(80))]
    new = [np.log1p(-backward_share(F, Z, 0.95).estimate) for F, Z in states]
    found = [
        cluster_bootstrap(F, Z, n_refits=50, n_folds=3, weight_sd=0.5).backward
        for F, Z in states[:3]
    ]
    errors = [value.std_error / (1.0 - value.estimate) for value in found]
    assert 0.7 < np.mean(errors) / np.std(new) < 1.4


def test_the_interval_is_students_t_on_the_log_scale():
    F, Z = planted(90, seed=6)
    value = cluster_bootstrap(F, Z, n_refits=50, n_folds=3, level=0.9).backward
    reach = stats.t.ppf(0.95, 89) * value.std_error / (1.0 - value.estimate)
    ends = 1.0 - (1.0 - value.estimate) * np.exp([reach, -reach])
    np.testing.assert_allclose([value.ci_low, value.ci_high], ends, rtol=1e-12)
    assert np.isnan(value.p_value)


def test_refits_are_the_same_for_any_number_of_workers_and_any_rotation_of_the_states():
    F, Z = planted(50, 4, seed=7)
    first = cluster_bootstrap(F, Z, n_refits=50, n_folds=3, seed=3)
    assert cluster_bootstrap(F, Z, n_refits=50, n_folds=3, seed=3, n_workers=3) == first
    with hired(Machines()) as crew:
        assert cluster_bootstrap(F, Z, n_refits=50, n_folds=3, seed=3, crew=crew) == first
    assert cluster_bootstrap(F, Z, n_refits=50, n_folds=3, seed=4) != first
    rotation = np.linalg.qr(np.random.default_rng(8).normal(size=(4, 4)))[0]
    turned = cluster_bootstrap(7.0 * F @ rotation + 3.0, Z, n_refits=50, n_folds=3, seed=3)
    for a, b in zip(refitted(first), refitted(turned), strict=True):
        assert (b.estimate, b.std_error) == pytest.approx((a.estimate, a.std_error), rel=1e-6)


def test_refits_print_as_table_text_latex_and_figure():
    F, Z = planted(60, seed=9)
    result = cluster_bootstrap(F, Z, n_refits=50, n_folds=3, layer="12")
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
