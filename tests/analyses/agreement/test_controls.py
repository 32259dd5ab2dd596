"""What the model adds to a control: paired, nested, and unable to drown or leak."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from concept_ppl.analyses import (
    RESULT_COLUMNS,
    canonical_correlations,
    compare_controls,
    decoded_contrasts,
    decompose_states,
    equivalence,
    goodness_of_fit,
    shuffled,
)
from concept_ppl.analyses.designs.blocks import CONTROL_FACTORS, joint_predictions
from concept_ppl.analyses.designs.cross_fits import PENALTIES, cross_fit
from concept_ppl.analyses.designs.decomposition import decompose
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.errors import InputError


def planted(n=200, seed=0):
    """Contrast = what the control shows + what only the model shows + noise, in parts 2 : 1 : 1."""
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(n, 1)) * np.sqrt(2), rng.normal(size=(n, 1))
    Z = shared + own + rng.normal(size=(n, 1))
    control = shared @ rng.normal(size=(1, 5)) + 0.02 * rng.normal(size=(n, 5))
    F = own @ rng.normal(size=(1, 30)) + 0.02 * rng.normal(size=(n, 30))
    return F, Z, control


def naive_joint(control, F, Y, design, fold, chosen):
    """Two-block ridge by plain solves, nested without shortcuts."""
    w, folds = design.weights, design.folds
    blocks = np.hstack([control, F])
    width = control.shape[1]

    def fit(train, test, factor, relative):
        total = w[train].sum()
        mean, Y_mean = w[train] @ blocks[train] / total, w[train] @ Y[train] / total
        X = blocks[train] - mean
        gram = X.T @ (w[train, None] * X)
        units = [np.linalg.eigvalsh(g)[-1] for g in (gram[:width, :width], gram[width:, width:])]
        penalty = np.repeat([chosen * factor * units[0], relative * units[1]], [width, F.shape[1]])
        cross = X.T @ (w[train, None] * (Y[train] - Y_mean))
        return Y_mean + (blocks[test] - mean) @ np.linalg.solve(gram + np.diag(penalty), cross)

    losses = np.zeros((len(CONTROL_FACTORS), len(PENALTIES)))
    for (i, factor), (m, relative) in (
        (a, b) for a in enumerate(CONTROL_FACTORS) for b in enumerate(PENALTIES)
    ):
        for j in set(range(design.n_folds)) - {fold}:
            test = folds == j
            gap = Y[test] - fit(~np.isin(folds, (j, fold)), test, factor, relative)
            losses[i, m] += (w[test, None] * gap**2).sum()
    i, m = np.unravel_index(losses.argmin(), losses.shape)
    return fit(folds != fold, folds == fold, CONTROL_FACTORS[i], PENALTIES[m])


@pytest.mark.parametrize(("n", "d"), [(80, 6), (30, 50)])
def test_joint_predictions_equal_plain_solves_with_a_penalty_for_each_block(n, d):
    rng = np.random.default_rng(n)
    Y = rng.normal(size=(n, 2))
    control = Y @ rng.normal(size=(2, 4)) + rng.normal(size=(n, 4))
    F = Y @ rng.normal(size=(2, d)) + 2 * rng.normal(size=(n, d))
    states = decompose_states(F, weights=rng.uniform(0.5, 2, size=n), n_folds=3)
    rival = decompose(control, states.design)
    chosen = {0: 1e-3, 2: 1e-2}
    predicted = joint_predictions(rival, states, Y, chosen)
    assert set(predicted) == {0, 2}
    for fold, penalty in chosen.items():
        expected = naive_joint(control, F, Y, states.design, fold, penalty)
        np.testing.assert_allclose(predicted[fold], expected, rtol=0, atol=1e-7)


def test_difference_and_increment_recover_the_planted_shares():
    F, Z, control = planted(1000)
    result = compare_controls(F, Z, {"bag": control})
    assert result.controls[0].share.estimate == pytest.approx(0.5, abs=0.06)
    in_sample = Z - F @ np.linalg.lstsq(F, Z, rcond=None)[0]
    assert result.model.estimate == pytest.approx(1 - in_sample.var() / Z.var(), abs=0.05)
    shared = Z - control @ np.linalg.lstsq(control, Z, rcond=None)[0]
    gap = (shared.var() - in_sample.var()) / Z.var()
    assert result.difference.estimate == pytest.approx(gap, abs=0.05)
    assert result.increment.ci_low < 0.25 < result.increment.ci_high
    assert result.shuffled.ci_low < 0.01
    assert result.increment.p_value < 1e-6


def test_intervals_of_the_increment_cover():
    hits = 0
    for seed in range(100):
        F, Z, control = planted(300, seed)
        interval = compare_controls(F, Z, {"bag": control}, seed=seed).increment
        hits += interval.ci_low <= 0.25 <= interval.ci_high
    # Binomial(100, .95): fewer than 83 with probability 5e-6.
    assert hits >= 83


def test_the_paired_difference_follows_from_the_predictions_alone():
    F, Z, control = planted(120, seed=3)
    clusters = np.arange(120) // 3
    states = decompose_states(F, clusters=clusters)
    rival = decompose(control, states.design)
    result = compare_controls(states, Z, {"bag": rival})
    base = cross_fit(states, Z).baseline
    sst = ((Z - base) ** 2).sum(axis=1)
    gain = ((Z - decoded_contrasts(rival, Z)) ** 2 - (Z - decoded_contrasts(states, Z)) ** 2).sum(
        axis=1
    )
    value = gain.sum() / sst.sum()
    kept = [clusters != g for g in range(40)]
    jackknife = np.array([gain[rows].sum() / sst[rows].sum() for rows in kept]) - value
    ours = squared_errors(cross_fit(states, Z))
    theirs = squared_errors(cross_fit(rival, Z))
    pull = theirs.sse_training - ours.sse_training - value * ours.sst_training
    training = np.bincount(clusters, weights=pull.sum(axis=1)) / sst.sum()
    assert 0 < training @ training < jackknife @ jackknife
    variance = 39 / 40 * jackknife @ jackknife + 40 / 39 * training @ training
    assert result.difference.estimate == pytest.approx(value, rel=1e-10)
    assert result.difference.std_error == pytest.approx(np.sqrt(variance), rel=1e-8)
    assert result.difference == result.controls[0].difference


def test_the_best_control_is_chosen_inside_the_training_folds():
    rng = np.random.default_rng(5)
    F, Z, _ = planted(60, seed=5)
    controls = {f"noise {i}": Z + 4 * rng.normal(size=(60, 3)) for i in range(12)}
    states = decompose_states(F)
    result = compare_controls(states, Z, controls)

    altered = Z.copy()
    altered[states.design.folds == 0] = rng.normal(size=altered[states.design.folds == 0].shape)
    assert compare_controls(states, altered, controls).best[0] == result.best[0]

    errors = np.array(
        [
            (Z - decoded_contrasts(decompose(control, states.design), Z))[:, 0] ** 2
            for control in controls.values()
        ]
    )
    by_fold = np.array([errors[:, states.design.folds == k].sum(axis=1) for k in range(5)])
    spread = ((Z - cross_fit(states, Z).baseline) ** 2).sum()
    leaked = 1 - by_fold.min(axis=1).sum() / spread
    assert result.best_share.estimate < leaked - 0.02


def test_a_copy_of_the_control_adds_nothing():
    _, Z, control = planted(400, seed=6)
    increment = compare_controls(control + 1.0, Z, {"bag": control}).increment
    assert abs(increment.estimate) < 0.005


def test_no_block_drowns_the_other_by_its_scale():
    F, Z, control = planted(150, seed=7)
    before = compare_controls(F, Z, {"bag": control})
    after = compare_controls(1e-3 * F, Z, {"bag": 1e4 * control})
    assert after.increment.estimate == pytest.approx(before.increment.estimate, abs=1e-6)
    assert after.difference.estimate == pytest.approx(before.difference.estimate, abs=1e-8)


def test_a_control_that_does_not_vary_tells_nothing():
    F, Z, _ = planted(80)
    result = compare_controls(F, Z, {"comma": np.ones((80, 4))})
    assert result.controls[0].share.estimate == pytest.approx(0.0, abs=1e-12)
    assert result.increment.estimate == pytest.approx(result.model.estimate, abs=1e-6)


def test_shuffling_moves_clusters_whole():
    Z = np.repeat(np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 4 + 1, axis=0)
    clusters = np.repeat([f"context {i}" for i in range(30)], np.arange(30) % 4 + 1)
    moved = shuffled(Z, clusters, seed=1)
    assert all(len(np.unique(moved[clusters == g], axis=0)) == 1 for g in np.unique(clusters))
    assert not np.allclose(moved, Z)
    single = shuffled(Z, seed=1)
    np.testing.assert_array_equal(np.sort(single, axis=0), np.sort(Z, axis=0))


def test_shuffled_contrasts_cannot_be_read_off_the_states():
    F, Z, _ = planted(300, seed=8)
    assert goodness_of_fit(F, Z).backward.estimate > 0.15
    assert goodness_of_fit(F, shuffled(Z, seed=0)).backward.estimate < 0.02


def test_tidy_summary_and_plot():
    F, Z, control = planted(60)
    result = compare_controls(F, Z, {"bag": control, "last": control[:, :1]}, layer="resid.1")
    table = result.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert list(table["control"]) == [
        *("", "shuffled", "bag", "bag", "last", "last"),
        *("best", "best", "best"),
    ]
    assert "best control" in result.summary()
    assert isinstance(result.plot(), Figure)


def test_bad_controls_are_refused_by_name():
    F, Z, control = planted(60)
    with pytest.raises(InputError, match="There is no control"):
        compare_controls(F, Z, {})
    with pytest.raises(InputError, match="Control bag has 59 rows, F has 60"):
        compare_controls(F, Z, {"bag": control[1:]})
    control[3, 1] = np.nan
    with pytest.raises(InputError, match="Control bag holds nan at row 3, column 1"):
        compare_controls(F, Z, {"bag": control})
    with pytest.raises(InputError, match="Control bag was decomposed with other"):
        compare_controls(F, Z, {"bag": decompose_states(F, seed=1)})


@pytest.mark.parametrize("headline", [goodness_of_fit, canonical_correlations, equivalence])
def test_every_headline_reports_its_controls_beside_the_estimate(headline):
    rng = np.random.default_rng(8)
    Z = rng.normal(size=(120, 2))
    F = Z @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(120, 5))
    controls = {"noise": rng.normal(size=(120, 3)), "part": F[:, :1]}
    alone, beside = headline(F, Z), headline(F, Z, controls=controls)
    assert alone.controls is None
    expected = compare_controls(F, Z, controls)
    assert beside.controls == expected
    rows = beside.tidy()
    pd.testing.assert_frame_equal(rows.iloc[: len(alone.tidy())], alone.tidy())
    pd.testing.assert_frame_equal(
        rows.iloc[len(alone.tidy()) :].reset_index(drop=True), expected.tidy()
    )
    assert "model minus best control (part)" in beside.summary()
