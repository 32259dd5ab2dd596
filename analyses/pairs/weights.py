"""Which direction stands for a concept: weights fitted to the word pairs of one half.

Every estimator sees the pairs of the training half alone, chooses its penalty or shrinkage
there, and returns one vector a concept, with the derivative of each vector by the weight of each
training pair: what an interval needs to know of how sure the vector itself is.

``mean difference``
    The mean of second word minus first.
``whitened``
    The same after whitening with one covariance of the pairs' differences about their concept's
    mean, shared by all concepts; differences are whitened where the weights are judged, too.
``LDA``
    The mean difference times the inverse covariance of *words* about the means of their
    concept's first and second words, shared by all concepts (linear discriminant analysis).
``logistic``
    Ridge-penalised logistic regression of second against first words, C by inner folds.

Both covariances are shrunk towards a multiple of the identity as Ledoit and Wolf 2004 do,
https://doi.org/10.1016/S0047-259X(03)00096-4: one concept has fewer pairs than states have
coordinates, and so do all of them together in wide models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray

from .logistic import logistic_direction

Estimator = Literal["mean difference", "whitened", "LDA", "logistic"]
ESTIMATORS: tuple[Estimator, ...] = ("mean difference", "whitened", "LDA", "logistic")

LEAST_SHRINKAGE = 1e-6
"""So that a covariance is never singular, however few the coordinates that vary."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPairs:
    """States of the word pairs of one half, on one scale.

    Attributes
    ----------
    first, second
        (n, d) states of both words of each pair.
    concept, component
        (n,) codes.
    n_concepts
        How many concepts there are, with and without pairs in this half.
    """

    first: FloatArray
    second: FloatArray
    concept: IntArray
    component: IntArray
    n_concepts: int

    @property
    def differences(self) -> FloatArray:
        """(n, d) second word minus first."""
        return np.asarray(self.second - self.first)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """One direction a concept.

    Attributes
    ----------
    directions
        (n_concepts, d); zero for a concept without pairs in this half.
    influence
        (n, d) derivative of its concept's direction by the weight of each training pair.
    contributions
        (n, d) such that a direction is the mean of its pairs' contributions, up to length; None for
        an estimator that is not a mean.
    judged
        Turns differences (m, d) of other pairs into what the directions are compared with.
    """

    directions: FloatArray
    influence: FloatArray
    contributions: FloatArray | None
    judged: Callable[[FloatArray], FloatArray]


def fit_weights(estimator: Estimator, training: TrainingPairs, seed: int) -> Weights:
    """Fit the directions of all concepts to the pairs of one half; see the module.

    Parameters
    ----------
    estimator
        One of ``ESTIMATORS``.
    training
        The pairs of this half.
    seed
        Of the inner folds of the logistic regression.
    """
    if estimator == "logistic":
        return _logistic(training, seed)
    differences = training.differences
    if estimator == "mean difference":
        return _mean(training, differences, _as_they_are)
    if estimator == "whitened":
        whiten = whitening(differences - concept_means(training, differences)[training.concept])
        return _mean(training, whiten(differences), whiten)
    residuals = [
        words - concept_means(training, words)[training.concept]
        for words in (training.first, training.second)
    ]
    factor = _covariance_factor(np.vstack(residuals))
    return _mean(training, cho_solve((factor, True), differences.T).T, _as_they_are)


def concept_means(training: TrainingPairs, values: FloatArray) -> FloatArray:
    """Means (n_concepts, d) of ``values`` (n, d) over the pairs of each concept; zero for none."""
    counts = np.bincount(training.concept, minlength=training.n_concepts)
    sums = np.zeros((training.n_concepts, values.shape[1]))
    np.add.at(sums, training.concept, values)
    return np.asarray(sums / np.maximum(counts, 1)[:, None])


def whitening(residuals: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return the map that gives vectors like ``residuals`` (n, d) the identity as covariance."""
    factor = _covariance_factor(residuals)
    return lambda values: np.asarray(solve_triangular(factor, values.T, lower=True).T)


def _mean(
    training: TrainingPairs,
    contributions: FloatArray,
    judged: Callable[[FloatArray], FloatArray],
) -> Weights:
    directions = concept_means(training, contributions)
    counts = np.bincount(training.concept, minlength=training.n_concepts)[training.concept]
    influence = (contributions - directions[training.concept]) / counts[:, None]
    return Weights(directions, influence, contributions, judged)


def _logistic(training: TrainingPairs, seed: int) -> Weights:
    d = training.first.shape[1]
    directions = np.zeros((training.n_concepts, d))
    influence = np.zeros((len(training.concept), d))
    for concept in np.unique(training.concept):
        own = np.flatnonzero(training.concept == concept)
        directions[concept], influence[own] = logistic_direction(
            training.first[own], training.second[own], training.component[own], seed
        )
    return Weights(directions, influence, None, _as_they_are)


def _covariance_factor(residuals: FloatArray) -> FloatArray:
    """Lower Cholesky factor (d, d) of the shrunk covariance of residuals (n, d) of mean zero."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, d = residuals.shape
    covariance = residuals.T @ residuals / n
    average = float(np.trace(covariance)) / d
    if average <= 0.0:  # nothing varies: any metric will do
        return np.eye(d)
    shrinkage = float(ledoit_wolf_shrinkage(residuals, assume_centered=True))
    shrinkage = min(max(shrinkage, LEAST_SHRINKAGE), 1.0)
    covariance *= 1.0 - shrinkage
    covariance[np.diag_indices(d)] += shrinkage * average
    return np.asarray(cholesky(covariance, lower=True))


def _as_they_are(values: FloatArray) -> FloatArray:
    return values
