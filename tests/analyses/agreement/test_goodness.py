"""Held-out R² is what its definition says, its interval covers, and bad input stays outside."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from concept_ppl.analyses import (
    RESULT_COLUMNS,
    decoded_contrasts,
    decompose_states,
    goodness_of_fit,
)
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.errors import InputError


def planted(n, d=4, q=2, share=0.8, seed=0):
    """Contrasts that are affine in Gaussian states up to noise: population R² is ``share``."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, d))
    slopes = np.linalg.qr(rng.normal(size=(d, q)))[0]
    noise = rng.normal(size=(n, q)) * np.sqrt((1 - share) / share)
    return F, F @ slopes + noise + 1.5


def numerical_training_influence(F, z, states):
    """Derivative of log(SSE/SST) by the training weight of each row, by central differences."""
    w, folds = states.design.weights, states.design.folds
    penalties = cross_fit(states, planted(120, seed=3)[1]).penalties

    def log_ratio(training_weights):
        sse = sst = 0.0
        for k in range(states.design.n_folds):
            train, test = folds != k, folds == k
            v = training_weights[train]
            penalty = penalties[k] * states.spectra[k,].top
            F_mean, z_mean = v @ F[train] / v.sum(), v @ z[train] / v.sum()
            X = F[train] - F_mean
            gram = X.T @ (v[:, None] * X) + penalty * np.eye(F.shape[1])
            slopes = np.linalg.solve(gram, X.T @ (v * (z[train] - z_mean)))
            fitted = z_mean + (F[test] - F_mean) @ slopes
            sse += w[test] @ (z[test] - fitted) ** 2
            sst += w[test] @ (z[test] - z_mean) ** 2
        return np.log(sse / sst)

    steps = np.eye(len(z)) * w * 1e-5
    return np.array([log_ratio(w + step) - log_ratio(w - step) for step in steps]) / 2e-5


def test_estimate_and_interval_follow_from_the_held_out_predictions_alone():
    rng = np.random.default_rng(3)
    F, Z = planted(120, seed=3)
    clusters, weights = rng.integers(0, 50, size=120), rng.uniform(0.5, 2, size=120)
    states = decompose_states(F, weights=weights, clusters=clusters, seed=4)
    result = goodness_of_fit(states, Z, level=0.9).per_contrast[1][1]

    folds, w = states.design.folds, weights / weights.mean()
    predicted = decoded_contrasts(states, Z)[:, 1]
    z = Z[:, 1]
    base = np.array([np.average(z[folds != k], weights=w[folds != k]) for k in folds])
    sse, sst = w * (z - predicted) ** 2, w * (z - base) ** 2
    ratio = sse.sum() / sst.sum()
    labels = np.unique(clusters)
    pull = numerical_training_influence(F, z, states)
    left_out, training, G = [], 0.0, len(labels)
    for g in labels:
        inside = clusters == g
        of_errors, of_spread = sse[inside].sum() / sse.sum(), sst[inside].sum() / sst.sum()
        left_out.append((of_errors - of_spread) / (1 - (of_errors + of_spread) / 2))
        training += pull[inside].sum() ** 2 * G / (G - 1)
    test = (G - 1) / G * np.sum(np.square(left_out))
    assert 0 < training < test
    error = np.sqrt(test + training)
    kurtosis = np.mean(np.power(left_out, 4)) / np.mean(np.square(left_out)) ** 2
    df = 2 * G / (kurtosis - (G - 3) / (G - 1))
    assert 10 < df < G - 1
    reach = stats.t.ppf(0.95, df) * error
    assert result.n_clusters == G
    np.testing.assert_allclose(
        [result.estimate, result.std_error, result.ci_low, result.ci_high],
        [1 - ratio, ratio * error, 1 - ratio * np.exp(reach), 1 - ratio * np.exp(-reach)],
        rtol=1e-6,
    )
    np.testing.assert_allclose(result.p_value, stats.t.cdf(np.log(ratio) / error, df), rtol=1e-4)


def test_an_invertible_affine_map_is_recovered_both_ways():
    Z = np.random.default_rng(1).standard_t(5, size=(400, 3))
    F = Z @ np.random.default_rng(2).normal(size=(3, 3)) + 5.0
    fit = goodness_of_fit(F, Z)
    assert fit.forward.estimate > 1 - 1e-6
    assert fit.backward.estimate > 1 - 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_held_out_fit_although_its_in_sample_fit_is_good(seed):
    rng = np.random.default_rng(seed)
    F, Z = rng.normal(size=(80, 60)), rng.normal(size=(80, 2))
    residual = Z - F @ np.linalg.lstsq(F, Z, rcond=None)[0]
    assert 1 - (residual**2).sum() / (Z**2).sum() > 0.5
    fit = goodness_of_fit(F, Z)
    assert fit.backward.estimate < 0.05
    assert fit.backward.ci_low < 0.0
    assert fit.forward.estimate < 0.05


def test_r2_below_zero_is_reported_below_zero():
    rng = np.random.default_rng(0)
    results = [
        goodness_of_fit(rng.normal(size=(30, 20)), rng.normal(size=(30, 1))).backward
        for _ in range(10)
    ]
    assert min(result.estimate for result in results) < 0
    assert all(result.ci_low < result.estimate < result.ci_high for result in results)


def covered(replications, n):
    hits = 0
    for seed in range(replications):
        F, Z = planted(n, d=3, q=1, share=0.8, seed=seed)
        interval = goodness_of_fit(F, Z, seed=seed).backward
        hits += interval.ci_low <= 0.8 <= interval.ci_high
    return hits


def test_interval_covers_the_population_value():
    # Binomial(150, .95): outside of 128 … 150 with probability 6e-6.
    assert covered(150, n=400) >= 128


@pytest.mark.slow
def test_interval_covers_the_population_value_as_often_as_it_says():
    # Binomial(600, .95): outside of 570 ± 24 with probability 1.6e-5; `make validity` counts more.
    assert abs(covered(600, n=1000) - 570) <= 24


@pytest.mark.filterwarnings("ignore:.* are exact copies")
def test_repeated_contexts_do_not_shrink_intervals():
    F, Z = planted(100, seed=5)
    context = np.repeat(np.arange(100), 4)
    once = goodness_of_fit(F, Z).backward
    repeated = goodness_of_fit(F[context], Z[context], clusters=context).backward
    naive = goodness_of_fit(F[context], Z[context]).backward
    assert repeated.estimate == pytest.approx(once.estimate, abs=1e-10)
    assert repeated.std_error == pytest.approx(once.std_error, rel=1e-8)
    assert repeated.n_clusters == 100
    assert naive.std_error < 0.6 * once.std_error


def test_a_weight_counts_like_that_many_repeats():
    F, Z = planted(60, seed=6)
    repeats = np.random.default_rng(0).integers(1, 4, size=60)
    context = np.repeat(np.arange(60), repeats)
    many = decompose_states(F[context], clusters=context)
    folds = many.design.folds[np.searchsorted(context, np.arange(60))]
    few = decompose_states(F, weights=repeats)
    assert not np.array_equal(few.design.folds, folds)  # sizes differ, hence folds: align them
    from dataclasses import replace

    from concept_ppl.analyses.designs.decomposition import decompose

    design = replace(few.design, folds=folds)
    aligned = goodness_of_fit(decompose(F, design), Z)
    expanded = goodness_of_fit(many, Z[context])
    for name in ("forward", "backward"):
        assert getattr(aligned, name).estimate == pytest.approx(
            getattr(expanded, name).estimate, abs=1e-10
        )
        assert getattr(aligned, name).std_error == pytest.approx(
            getattr(expanded, name).std_error, rel=1e-8
        )


def test_tidy_summary_and_plot():
    F, Z = planted(50)
    fit = goodness_of_fit(F, Z, names=["fr", "de"], target="posterior", layer="resid.3")
    table = fit.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert list(table["term"]) == ["posterior", "posterior", "posterior:fr", "posterior:de"]
    assert set(table["layer"]) == {"resid.3"}
    assert not table.drop(columns="p_value").isna().to_numpy().any()
    assert "posterior" in fit.summary()
    assert isinstance(fit.plot(), Figure)


def spoiled(array, value):
    array = array.copy()
    array[7, 1] = value
    return array


F0, Z0 = planted(40)
LOG_P = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=40))
REFUSALS = {
    "NaN in F": ((spoiled(F0, np.nan), Z0), {}, "F holds nan at row 7, column 1"),
    "inf in Z": ((F0, spoiled(Z0, -np.inf)), {}, "Z holds -inf at row 7, column 1"),
    "constant F": ((np.ones((40, 3)), Z0), {}, "F does not vary"),
    "constant Z": ((F0, np.c_[Z0, np.full(40, 0.3)]), {}, r"Column 2 of Z \(z3\) is constant"),
    "collinear Z": ((F0, np.c_[Z0, Z0.sum(axis=1)]), {}, "rank 2.*contrasts instead"),
    "all probabilities": ((F0, np.exp(LOG_P)), {}, "collinear.*without the last value"),
    "raw log p": ((F0, LOG_P), {}, "Columns 0 to 2 of Z .*raw log-probabilities.*contrasts"),
    "raw log p beside": ((F0, np.c_[Z0, LOG_P]), {}, "Columns 2 to 4 of Z .*raw"),
    "lengths": ((F0, Z0[:-1]), {}, "Z has 39 rows, F has 40"),
    "names": ((F0, Z0), {"names": ["one"]}, "names has 1 entries"),
    "weights length": ((F0, Z0), {"weights": np.ones(3)}, r"weights has shape \(3,\)"),
    "weight zero": ((F0, Z0), {"weights": np.r_[0, np.ones(39)]}, "weights holds 0.0 at row 0"),
    "clusters": ((F0, Z0), {"clusters": np.arange(40) % 4}, "4 clusters for 5 folds"),
    "folds": ((F0, Z0), {"n_folds": 2}, "at least 3"),
    "level": ((F0, Z0), {"level": 95}, "level is 95"),
    "shape": ((F0[:, :0], Z0), {}, r"F has shape \(40, 0\)"),
    "text": ((np.full((40, 2), "a"), Z0), {}, "F cannot be read as numbers"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused_with_what_where_and_the_remedy(case):
    arrays, options, message = REFUSALS[case]
    with pytest.raises(InputError, match=message):
        goodness_of_fit(*arrays, **options)


def test_log_odds_of_binary_and_of_many_values_are_accepted():
    log_odds = LOG_P[:, :2] - LOG_P[:, [2]]
    assert goodness_of_fit(F0, log_odds).backward.n == 40
