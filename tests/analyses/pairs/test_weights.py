"""The derivative of weights by the weight of a pair is what a slightly heavier pair would do."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from concept_ppl.analyses.pairs.logistic import logistic_direction
from concept_ppl.analyses.pairs.weights import TrainingPairs, fit_weights, whitening

from .planted_pairs import planted_words


def training(seed=0):
    words = planted_words(seed)
    return TrainingPairs(
        words.F[words.first],
        words.F[words.second],
        words.concept,
        words.design().component,
        3,
    )


def test_influence_of_a_mean_is_its_derivative():
    pairs = training()
    weights = fit_weights("mean difference", pairs, seed=0)
    heavier = np.ones(len(pairs.concept))
    heavier[4] += 1e-6
    own = pairs.concept == 0
    moved = np.average(pairs.differences[own], axis=0, weights=heavier[own])
    derivative = (moved - weights.directions[0]) / 1e-6
    np.testing.assert_allclose(weights.influence[4], derivative, atol=1e-6)


def test_influence_of_a_logistic_regression_is_its_derivative():
    pairs = training()
    own = np.flatnonzero(pairs.concept == 0)
    first, second = pairs.first[own], pairs.second[own]
    direction, influence = logistic_direction(first, second, pairs.component[own], seed=0)
    words, labels = np.vstack([first, second]), np.repeat([0, 1], len(own))
    words = words - words.mean(axis=0)

    def refit(c, weights):
        model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10, max_iter=500)
        return model.fit(words, labels, sample_weight=np.tile(weights, 2)).coef_[0]

    ones = np.ones(len(own))
    penalties = 10.0 ** np.arange(-4.0, 1.0)
    c = min(penalties, key=lambda c: np.linalg.norm(refit(c, ones) - direction))
    np.testing.assert_allclose(refit(c, ones), direction, atol=1e-4)
    step = 1e-4 * (np.arange(len(own)) == 3)
    derivative = (refit(c, ones + step) - refit(c, ones - step)) / 2e-4
    np.testing.assert_allclose(influence[3], derivative, atol=0.02 * np.abs(derivative).max())


def test_whitened_residuals_have_equal_variances():
    rng = np.random.default_rng(0)
    residuals = rng.normal(size=(4000, 5)) * [1.0, 2.0, 5.0, 0.3, 1.0]
    white = whitening(residuals)(residuals)
    np.testing.assert_allclose(white.T @ white / 4000, np.eye(5), atol=0.1)


@pytest.mark.parametrize("estimator", ["mean difference", "whitened", "LDA", "logistic"])
def test_a_concept_without_pairs_has_no_direction(estimator):
    pairs = training()
    kept = pairs.concept != 1
    fewer = TrainingPairs(
        pairs.first[kept], pairs.second[kept], pairs.concept[kept], pairs.component[kept], 3
    )
    directions = fit_weights(estimator, fewer, seed=0).directions
    assert not directions[1].any()
    assert directions[0].any()
