"""Nested ridge equals the textbook: solve every training set anew, tune without the test fold."""

import numpy as np
import pytest

from concept_ppl.analyses import decompose_states
from concept_ppl.analyses.designs.cross_fits import PENALTIES, cross_fit
from concept_ppl.analyses.designs.design import Design
from concept_ppl.errors import InputError


def closed_form(F, Y, w, train, test, relative):
    """Predictions of rows ``test`` by weighted ridge on rows ``train``, one penalty."""
    total = w[train].sum()
    F_mean, Y_mean = w[train] @ F[train] / total, w[train] @ Y[train] / total
    X, R = F[train] - F_mean, Y[train] - Y_mean
    gram = X.T @ (w[train, None] * X)
    penalty = relative * np.linalg.eigvalsh(gram)[-1]
    slopes = np.linalg.solve(gram + penalty * np.eye(F.shape[1]), X.T @ (w[train, None] * R))
    return Y_mean + (F[test] - F_mean) @ slopes


def textbook(F, Y, design: Design):
    """Nested cross-validation without any shortcut."""
    w, folds = design.weights, design.folds
    predicted, chosen = np.empty_like(Y), []
    for k in range(design.n_folds):
        losses = []
        for relative in PENALTIES:
            loss = 0.0
            for j in set(range(design.n_folds)) - {k}:
                test = folds == j
                fit = closed_form(F, Y, w, ~np.isin(folds, (j, k)), test, relative)
                loss += float((w[test, None] * (Y[test] - fit) ** 2).sum())
            losses.append(loss)
        chosen.append(PENALTIES[int(np.argmin(losses))])
        predicted[folds == k] = closed_form(F, Y, w, folds != k, folds == k, chosen[-1])
    return predicted, np.array(chosen)


def draw(n, d, q, seed):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, d)) * np.exp(rng.normal(size=d)) + 3.0
    Y = F[:, :q] + rng.normal(size=(n, q)) * 2.0
    return F, Y, rng.uniform(0.5, 2.0, size=n), rng.integers(0, n // 2, size=n)


@pytest.mark.parametrize(("n", "d"), [(90, 7), (60, 45), (40, 130)])
def test_cross_fit_equals_the_textbook_in_primal_mixed_and_dual(n, d):
    F, Y, weights, clusters = draw(n, d, 3, seed=n)
    states = decompose_states(F, weights=weights, clusters=clusters, n_folds=4, seed=2)
    fit = cross_fit(states, Y)
    predicted, penalties = textbook(F, Y, states.design)
    np.testing.assert_array_equal(fit.penalties, penalties)
    np.testing.assert_allclose(fit.predicted, predicted, rtol=0, atol=1e-8 * np.abs(Y).max())


def test_nothing_about_a_fold_is_learned_from_its_own_targets():
    F, Y, _, _ = draw(80, 10, 2, seed=1)
    states = decompose_states(F, seed=3)
    altered = Y.copy()
    held_out = states.design.folds == 0
    altered[held_out] += 100.0
    for whiten in (False, True):
        before = cross_fit(states, Y, whiten=whiten)
        after = cross_fit(states, altered, whiten=whiten)
        np.testing.assert_array_equal(before.predicted[held_out], after.predicted[held_out])
        assert before.penalties[0] == after.penalties[0]
        assert before.inner_loss[0] == after.inner_loss[0]


def test_more_targets_than_coordinates_change_no_prediction():
    F, Y, _, _ = draw(60, 4, 3, seed=4)
    states = decompose_states(Y, seed=0)
    fit = cross_fit(states, F @ np.random.default_rng(0).normal(size=(4, 40)))
    predicted, _ = textbook(Y, F @ np.random.default_rng(0).normal(size=(4, 40)), states.design)
    np.testing.assert_allclose(fit.predicted, predicted, rtol=0, atol=1e-8)


def test_rotation_scale_and_translation_of_states_change_no_prediction():
    F, Y, weights, clusters = draw(70, 12, 2, seed=5)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    moved = 250.0 * F @ rotation - 40.0
    kept = {"weights": weights, "clusters": clusters}
    before = cross_fit(decompose_states(F, **kept), Y)
    after = cross_fit(decompose_states(moved, **kept), Y)
    np.testing.assert_allclose(after.predicted, before.predicted, rtol=0, atol=1e-8)


def test_decomposed_states_keep_their_own_design():
    F, Y, weights, _ = draw(40, 3, 1, seed=6)
    from concept_ppl.analyses import goodness_of_fit

    with pytest.raises(InputError, match="decomposed already"):
        goodness_of_fit(decompose_states(F), Y, weights=weights)
