"""Held-out canonical correlations: planted values covered, invariances exact, noise at zero."""

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import linalg

from concept_ppl.analyses import (
    RESULT_COLUMNS,
    canonical_correlations,
    decompose_states,
    goodness_of_fit,
)
from concept_ppl.analyses.agreement.canonical import canonical_scores
from concept_ppl.analyses.designs.correlations import (
    correlation_influence,
    signed_square,
    squared_correlation,
)
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.intervals import standard_error
from concept_ppl.analyses.designs.training_influence import direction_influence
from concept_ppl.analyses.results.rows import Estimate, square_in_words
from concept_ppl.errors import InputError


def planted(n, rho=(0.9, 0.5), seed=0):
    """Gaussian pairs with these population canonical correlations, both sides mixed up."""
    rng = np.random.default_rng(seed)
    rho = np.asarray(rho)
    Z = rng.normal(size=(n, len(rho)))
    F = Z * rho + rng.normal(size=Z.shape) * np.sqrt(1 - rho**2)
    return F @ rng.normal(size=(len(rho),) * 2), Z @ rng.normal(size=(len(rho),) * 2) + 2.0


def test_an_invertible_affine_map_has_all_correlations_one():
    Z = np.random.default_rng(0).standard_t(5, size=(300, 4))
    fit = canonical_correlations(Z @ np.random.default_rng(1).normal(size=(4, 30)), Z)
    assert fit.smallest.estimate > 1 - 1e-6
    assert fit.mean.ci_low > 1 - 1e-6


def test_a_lost_direction_shows_in_the_smallest_correlation_only():
    rng = np.random.default_rng(2)
    Z = rng.normal(size=(500, 3))
    A = rng.normal(size=(3, 2)) @ rng.normal(size=(2, 20))
    fit = canonical_correlations(Z @ A + 0.1 * rng.normal(size=(500, 20)), Z)
    assert fit.directions[1].ci_low > 0.9
    assert fit.smallest.ci_low < 0 < fit.smallest.ci_high < 0.1
    assert fit.mean.estimate == pytest.approx(2 / 3, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_intervals_at_zero(seed):
    rng = np.random.default_rng(seed)
    fit = canonical_correlations(rng.normal(size=(120, 80)), rng.normal(size=(120, 2)))
    assert abs(fit.mean.estimate) < 0.1
    assert fit.mean.ci_low <= 0 <= fit.mean.ci_high


def test_intervals_of_noise_cover_zero():
    hits = np.zeros(2, dtype=int)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        fit = canonical_correlations(rng.normal(size=(100, 6)), rng.normal(size=(100, 2)))
        hits += [d.ci_low <= 0 <= d.ci_high for d in fit.directions]
    # Binomial(150, .92): fewer than 122 with probability 1e-5; given the maps alone it is 118.
    assert hits.min() >= 122


def covered(replications, n):
    hits = np.zeros(2, dtype=int)
    for seed in range(replications):
        fit = canonical_correlations(*planted(n, seed=seed), seed=seed)
        for i, rho in enumerate((0.9, 0.5)):
            hits[i] += fit.directions[i].ci_low <= rho**2 <= fit.directions[i].ci_high
    return hits


def test_interval_covers_the_population_value():
    # Binomial(150, .95): fewer than 128 with probability 6e-6.
    assert covered(150, n=400).min() >= 128


@pytest.mark.slow
def test_interval_covers_the_population_value_as_often_as_it_says():
    # Binomial(600, .95): outside of 570 ± 24 with probability 1.6e-5; `make validity` counts more.
    assert np.abs(covered(600, n=1000) - 570).max() <= 24


def test_standard_error_is_that_of_the_jackknife_over_clusters():
    F, Z = planted(400, seed=4)
    states = decompose_states(F, clusters=np.arange(400) % 100)
    scores = canonical_scores(states, Z)
    rows = states.design.clusters
    for i, (a, b) in enumerate(zip(scores.a.T, scores.b.T, strict=True)):
        left_out = []
        for g in range(100):
            kept = rows != g
            left_out.append(a[kept] @ b[kept] / np.sqrt((a[kept] @ a[kept]) * (b[kept] @ b[kept])))
        jackknife = np.sqrt(99 / 100 * np.sum((left_out - np.mean(left_out)) ** 2))
        assert standard_error(scores.test[i]) == pytest.approx(jackknife, rel=0.003)
        # With a relation, rows move the statistic through the maps next to nothing.
        both = standard_error(scores.test[i], scores.training[i])
        assert both == pytest.approx(standard_error(scores.test[i]), rel=0.05)
        reported = canonical_correlations(states, Z).directions[i]
        assert reported.std_error == pytest.approx(2 * abs(scores.rho[i]) * both, rel=1e-10)


def test_influence_through_directions_is_the_derivative_by_training_weights():
    rng = np.random.default_rng(9)
    F, Z = planted(60, rho=(0.8, 0.6, 0.5), seed=9)
    states = decompose_states(F, weights=rng.uniform(0.5, 2, size=60), n_folds=3)
    F, design = states.F, states.design
    fit = cross_fit(states, Z, whiten=True)
    w, folds = design.weights, design.folds

    def canonical_weights(k, v):
        X, Y = F - states.spectra[k,].mean, Z - fit.baseline[folds == k][0]
        v = np.where(folds == k, 0.0, v)
        gram = X.T @ (v[:, None] * X) + fit.penalties[k] * states.spectra[k,].top * np.eye(3)
        cross = X.T @ (v[:, None] * Y)
        explained = cross.T @ np.linalg.solve(gram, cross)
        D = linalg.eigh(explained, Y.T @ (v[:, None] * Y))[1][:, ::-1]
        return D * np.sqrt(w[folds != k].sum())

    fitted = [canonical_weights(k, w) for k in range(3)]
    offset, size = Z - fit.baseline, np.linspace(0.5, 2.0, 3)

    def correlations(v):
        a, b = np.empty_like(Z), np.empty_like(Z)
        for k, before in enumerate(fitted):
            turn = np.linalg.solve(before, canonical_weights(k, v))
            D = before @ (turn / np.diag(turn))  # lengths count as given
            b[folds == k] = offset[folds == k] @ D
            a[folds == k] = (fit.predicted - fit.baseline)[folds == k] @ D / size
        return a, b, correlation_influence(a, b, design)

    a, b, (_, _, (by_a, by_b)) = correlations(w)
    turns = np.array(
        [
            (a[rows] * size).T @ by_a[rows] / size + b[rows].T @ by_b[rows]
            for rows in (folds == k for k in range(3))
        ]
    )
    influence = direction_influence(fit, fitted, turns)
    steps = 1e-5 * np.eye(60)
    moved = [correlations(w + step)[2][0] - correlations(w - step)[2][0] for step in steps]
    np.testing.assert_allclose(influence, np.array(moved) / 2e-5, rtol=0, atol=1e-7)
    assert np.abs(influence).max() > 1e-3


@pytest.mark.filterwarnings("ignore:.* are exact copies")
def test_repeated_contexts_do_not_shrink_intervals():
    F, Z = planted(100, seed=8)
    context = np.repeat(np.arange(100), 5)
    once = canonical_correlations(F, Z)
    repeated = canonical_correlations(F[context], Z[context], clusters=context)
    naive = canonical_correlations(F[context], Z[context])
    assert repeated.smallest.std_error == pytest.approx(once.smallest.std_error, rel=1e-8)
    assert repeated.mean.std_error == pytest.approx(once.mean.std_error, rel=1e-8)
    assert naive.smallest.std_error < 0.6 * once.smallest.std_error


@pytest.mark.parametrize(("n", "d"), [(150, 20), (40, 90)])
def test_invertible_affine_maps_of_contrasts_change_nothing(n, d):
    rng = np.random.default_rng(5)
    Z = rng.standard_t(5, size=(n, 3))
    F = Z @ rng.normal(size=(3, d)) + 2 * rng.normal(size=(n, d))
    clusters = np.arange(n) // 2
    before = canonical_correlations(F, Z, clusters=clusters).tidy()
    moved = Z @ (rng.normal(size=(3, 3)) * [1, 10, 0.1]) - 7.0
    after = canonical_correlations(F, moved, clusters=clusters).tidy()
    columns = ["estimate", "std_error", "ci_low", "ci_high"]
    np.testing.assert_allclose(after[columns], before[columns], rtol=0, atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(150, 20), (40, 90)])
def test_rotation_scale_translation_of_states_and_order_of_columns_change_nothing(n, d):
    rng = np.random.default_rng(6)
    Z = rng.standard_t(5, size=(n, 3))
    F = Z @ rng.normal(size=(3, d)) + 2 * rng.normal(size=(n, d))
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    before = canonical_correlations(F, Z).tidy()
    after = canonical_correlations(1e3 * F @ rotation + 30.0, Z[:, [2, 0, 1]]).tidy()
    columns = ["estimate", "std_error", "ci_low", "ci_high"]
    np.testing.assert_allclose(after[columns], before[columns], rtol=0, atol=1e-8)


def test_a_negative_held_out_correlation_never_looks_like_a_fit():
    assert signed_square(-0.3) == pytest.approx(-0.09)
    a = np.random.default_rng(0).normal(size=50)
    states = decompose_states(a[:, None])
    b = -a + 0.3 * np.sin(np.arange(50))
    rho, influence, _ = correlation_influence(a[:, None], b[:, None], states.design)
    estimate = squared_correlation(
        rho[0], standard_error(influence[0]), math.nan, states.design, 0.95
    )
    assert estimate.ci_low < estimate.estimate < estimate.ci_high < 0


def test_states_too_narrow_for_the_contrasts_are_refused():
    rng = np.random.default_rng(0)
    F, Z = rng.normal(size=(50, 2)), rng.normal(size=(50, 3))
    with pytest.raises(InputError, match="Z has 3 contrasts, F only 2 coordinates"):
        canonical_correlations(F, Z)
    with pytest.raises(InputError, match="fewer directions"):
        canonical_correlations(F[:, [0, 0, 0]], Z)


def test_few_clusters_are_warned_of():
    F, Z = planted(90, seed=1)
    for analysis in (canonical_correlations, goodness_of_fit):
        with pytest.warns(UserWarning, match="There are 9 clusters, fewer than 10"):
            analysis(F, Z, clusters=np.arange(90) % 9)
        analysis(F, Z, clusters=np.arange(90) % 10)


def test_a_contrast_too_rare_for_the_folds_is_refused():
    rng = np.random.default_rng(0)
    Z = np.c_[rng.normal(size=30), np.r_[1.0, np.zeros(29)]]
    with pytest.raises(InputError, match="too rare for this many folds"):
        canonical_correlations(rng.normal(size=(30, 4)), Z)


def test_tidy_summary_and_plot():
    fit = canonical_correlations(*planted(60), layer="final_norm")
    table = fit.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert list(table["quantity"]) == ["rho2_smallest", "rho2_mean", "rho2", "rho2"]
    assert "smallest" in fit.summary()
    assert isinstance(fit.plot(), Figure)


def test_a_square_below_zero_is_printed_with_the_reason():
    below = Estimate(-0.265, 0.1, -0.4, -0.1, 0.95, math.nan, 50, 50)
    assert square_in_words(below).endswith("below 0, since the held-out correlation is")
    assert square_in_words(replace(below, estimate=0.265)) == str(replace(below, estimate=0.265))
    rng = np.random.default_rng(0)
    for _ in range(30):
        found = canonical_correlations(rng.normal(size=(40, 3)), rng.normal(size=(40, 3)))
        for line in found.summary().splitlines()[1:]:
            assert ("−" in line.split("(")[0]) == ("below 0" in line), line
