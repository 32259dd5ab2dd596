"""A probe is judged beside Bayes on held-out rows, its probabilities beside what noise shows."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from concept_ppl.analyses import RESULT_COLUMNS, decompose_states, goodness_of_fit, probe
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.regression.calibration import calibration
from concept_ppl.analyses.regression.logistic import INVERSE_PENALTIES, logistic_cross_fit
from concept_ppl.errors import InputError


def world(n=300, n_values=3, seed=0):
    """Values drawn from their posterior, and states that are an invertible map of its log-odds."""
    rng = np.random.default_rng(seed)
    log_p = log_softmax(1.5 * rng.normal(size=(n, n_values)), axis=1)
    values = (rng.random((n, 1)) > np.exp(log_p).cumsum(axis=1)).sum(axis=1)
    log_odds = log_p[:, 1:] - log_p[:, :1]
    return log_odds @ rng.normal(size=(n_values - 1, n_values - 1)) + 1.0, values, log_p


def test_a_probe_of_the_log_odds_is_nearly_bayes():
    F, values, log_p = world(600)
    found = probe(F, values, log_posterior=log_p)
    assert found.gap.log_loss.ci_low < 0.02
    assert abs(found.gap.log_loss.estimate) < 0.03
    assert found.gap.accuracy.ci_low < 0.0 < found.gap.accuracy.ci_high
    picked = -log_p[np.arange(600), values]
    assert found.bayes.log_loss.estimate == pytest.approx(picked.mean(), rel=1e-12)
    assert found.bayes.accuracy.estimate == np.mean(log_p.argmax(axis=1) == values)
    unpaired = np.hypot(found.probe.log_loss.std_error, found.bayes.log_loss.std_error)
    assert found.gap.log_loss.std_error < 0.5 * unpaired


def test_a_probe_of_noise_knows_the_base_rates_and_no_more():
    _, values, log_p = world(400)
    found = probe(np.random.default_rng(1).normal(size=(400, 10)), values, log_posterior=log_p)
    shares = np.bincount(values) / 400
    assert found.probe.log_loss.estimate == pytest.approx(-shares @ np.log(shares), abs=0.03)
    assert found.gap.log_loss.p_value < 1e-6
    assert found.gap.accuracy.estimate < -0.2


def test_accuracy_cannot_tell_the_log_odds_from_their_cube():
    _, values, log_p = world(600, n_values=2, seed=3)
    z = log_p[:, 1:] - log_p[:, :1]
    plain, cubed = (probe(F, values, log_posterior=log_p) for F in (z, np.cbrt(z)))
    assert cubed.gap.accuracy.estimate == pytest.approx(plain.gap.accuracy.estimate, abs=0.02)
    assert goodness_of_fit(z, z).backward.estimate > 0.99
    assert goodness_of_fit(np.cbrt(z), z).backward.estimate < 0.95


def test_predictions_are_those_of_scikit_learn_on_the_other_folds():
    F, values, _ = world(200, seed=4)
    F = np.hstack([F, np.random.default_rng(5).normal(size=(200, 3))])
    weights = np.random.default_rng(6).uniform(0.5, 2.0, size=200)
    states = decompose_states(F, weights=weights, clusters=np.arange(200) // 2)
    fit = logistic_cross_fit(states, values)
    for k, C in enumerate(fit.inverse_penalties):
        train = states.design.folds != k
        w = states.design.weights[train]
        mean = np.average(F[train], axis=0, weights=w)
        scale = np.sqrt(np.average((F[train] - mean) ** 2, axis=0, weights=w).mean())
        model = LogisticRegression(C=C, tol=1e-8, max_iter=2000)
        model.fit((F[train] - mean) / scale, values[train], sample_weight=w)
        expected = model.predict_log_proba((F[~train] - mean) / scale)
        np.testing.assert_allclose(fit.log_p[~train], expected, atol=0.01)
    assert set(fit.inverse_penalties) <= set(INVERSE_PENALTIES)
    assert fit.unconverged == 0


def test_probes_do_not_change_with_rotation_and_scale_of_the_states():
    F, values, log_p = world(200, seed=7)
    rotation = np.linalg.qr(np.random.default_rng(8).normal(size=(2, 2)))[0]
    first = probe(F, values, log_posterior=log_p)
    turned = probe(1e3 * F @ rotation - 5.0, values, log_posterior=log_p)
    assert turned.inverse_penalties == first.inverse_penalties
    assert turned.probe.log_loss.estimate == pytest.approx(first.probe.log_loss.estimate, abs=1e-3)


def test_fewer_components_lose_what_varies_little():
    F, values, _ = world(300, n_values=2, seed=9)
    states = np.hstack([0.1 * F, np.random.default_rng(10).normal(size=(300, 2))])
    whole, part = probe(states, values), probe(states, values, n_components=2)
    assert part.probe.log_loss.estimate > whole.probe.log_loss.estimate + 0.1


def test_repeated_contexts_are_not_more_data():
    F, values, log_p = world(150, seed=11)
    rows = np.repeat(np.arange(150), 3)
    once = probe(F, values, log_posterior=log_p)
    thrice = probe(F[rows], values[rows], log_posterior=log_p[rows], clusters=rows)
    assert thrice.bayes.accuracy.std_error == pytest.approx(once.bayes.accuracy.std_error)
    assert "not independent draws" in thrice.calibration.test.invalid_because


def test_true_probabilities_are_calibrated_and_sharpened_ones_are_not():
    _, values, log_p = world(2000, seed=12)
    design = make_design(2000)
    exact = calibration(log_p, values, design, n_bins=15, seed=0)
    assert exact.test.p_value > 0.05
    assert abs(exact.excess) < 0.015 < exact.error
    assert [each.mass for each in exact.bins] == pytest.approx([1 / 15] * 15, abs=1e-3)
    sharpened = calibration(log_softmax(2 * log_p, axis=1), values, design, n_bins=15, seed=0)
    assert sharpened.test.p_value == pytest.approx(1 / 1000)
    assert sharpened.excess > 0.05


def test_bins_of_a_reliability_curve_by_hand():
    log_p = np.log([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8]])
    found = calibration(log_p, np.array([0, 1, 1, 1]), make_design(4, n_folds=3), n_bins=2, seed=0)
    assert [(b.mass, b.confidence, b.accuracy.estimate) for b in found.bins] == [
        pytest.approx((0.5, 0.6, 0.5)),
        pytest.approx((0.5, 0.85, 1.0)),
    ]
    assert found.error == pytest.approx(0.5 * 0.1 + 0.5 * 0.15)
    ties = calibration(
        np.log(np.full((4, 2), 0.5)), np.zeros(4, int), make_design(4, n_folds=3), n_bins=3, seed=0
    )
    assert len(ties.bins) == 1


def test_it_prints_as_table_text_latex_and_figure():
    F, values, log_p = world(150, seed=13)
    found = probe(F, values, log_posterior=log_p, concept="language", layer="3")
    table = found.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert len(table) == 9
    assert len(probe(F, values).tidy()) == 5
    assert "accuracy probe − Bayes" in found.summary()
    assert r"\toprule" in found.to_latex()
    assert isinstance(found.plot(), Figure)


F, VALUES, LOG_P = world(60)


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        (VALUES[:5], {}, "concept_values has shape"),
        (VALUES + 0.5, {}, "must be integers"),
        (np.zeros(60, dtype=int), {}, "at least two"),
        (np.where(np.arange(60) == 0, 3, VALUES), {}, "Value 3 does not occur"),
        (VALUES, {"log_posterior": LOG_P[:, :2]}, "log_posterior has shape"),
        (VALUES, {"log_posterior": LOG_P - 0.1}, "at row 0, not 1"),
        (VALUES, {"n_components": 0}, "n_components"),
        (VALUES, {"n_bins": 1}, "n_bins"),
    ],
)
def test_bad_input_is_refused(values, arguments, message):
    with pytest.raises(InputError, match=message):
        probe(F, values, **arguments)
