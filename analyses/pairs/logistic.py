"""Which direction tells second words from first words: one concept's ridge logistic regression.

The penalty makes the weights a combination of the training words, so the regression is solved in
the coordinates of their span: exact, and small whatever the width of the states.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray

INVERSE_PENALTIES: FloatArray = 10.0 ** np.arange(-4.0, 1.0)
"""Values of C tried, for states whose coordinates have a mean square of one."""

INNER_FOLDS = 3
MOST_STEPS = 100
MOST_HALVINGS = 30
TOLERANCE = 1e-8
"""Largest change of a weight, relative to the largest weight, at which a fit has converged."""


def logistic_direction(
    first: FloatArray, second: FloatArray, component: IntArray, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Fit the weights of one concept, C chosen by folds that share no unit.

    Parameters
    ----------
    first, second
        (n, d) states of the words of each pair.
    component
        (n,) unit of each pair.
    seed
        Of the folds.

    Returns
    -------
    direction
        (d,) weights, second against first.
    influence
        (n, d) their derivative by the weight of each pair (of both its words).
    """
    n = len(first)
    words = np.vstack([first, second])
    centred = words - words.mean(axis=0)
    _, values, span = np.linalg.svd(centred, full_matrices=False)
    span = span[values > 1e-10 * max(float(values[0]), np.finfo(np.float64).tiny)]
    if not len(span):
        return np.zeros(first.shape[1]), np.zeros_like(first)
    scores = centred @ span.T
    labels = np.repeat([0, 1], n)
    c = _choose(scores, labels, np.tile(component, 2), seed)
    rows = np.column_stack([scores, np.ones(len(scores))])
    weights = _fit(rows, labels, c, np.zeros(rows.shape[1]))
    return weights[:-1] @ span, _influence(rows, labels, weights, c) @ span


def _influence(rows: FloatArray, labels: IntArray, weights: FloatArray, c: float) -> FloatArray:
    """Return the derivative (n, r) of the weights by each pair's weight (implicit theorem)."""
    n = len(rows) // 2
    p = expit(rows @ weights)
    hessian = _hessian(rows, p, c)
    gradients = c * (labels - p)[:, None] * rows
    moved = np.linalg.solve(hessian, (gradients[:n] + gradients[n:]).T).T
    return np.asarray(moved[:, :-1])


def _choose(scores: FloatArray, labels: IntArray, unit: IntArray, seed: int) -> float:
    """C of the least held-out log-loss; the strongest penalty where no unit can be held out."""
    losses = np.zeros(len(INVERSE_PENALTIES))
    rows = np.column_stack([scores, np.ones(len(scores))])
    sign = 2.0 * labels - 1.0
    for training, held_out in _inner_folds(unit, seed):
        weights = np.zeros(rows.shape[1])
        for i, c in enumerate(INVERSE_PENALTIES):
            weights = _fit(rows[training], labels[training], c, weights)
            losses[i] += np.logaddexp(0.0, -sign[held_out] * (rows[held_out] @ weights)).sum()
    return float(INVERSE_PENALTIES[np.argmin(losses)])


def _inner_folds(unit: IntArray, seed: int) -> Iterator[tuple[IntArray, IntArray]]:
    codes = np.unique(unit)
    if len(codes) < 2:
        return
    n_folds = min(INNER_FOLDS, len(codes))
    fold = np.random.default_rng(seed).permutation(len(codes)) % n_folds
    of_row = fold[np.searchsorted(codes, unit)]
    for k in range(n_folds):
        yield np.flatnonzero(of_row != k), np.flatnonzero(of_row == k)


def _fit(rows: FloatArray, labels: IntArray, c: float, start: FloatArray) -> FloatArray:
    """Minimise ½|w|² + C Σ log-loss by Newton's method with halved steps; the last weight is free.

    The same objective as scikit-learn's, whose checks of its input would take longer than these
    fits of some fifty rows, of which there are thousands.
    """
    weights, value = start, _objective(rows, labels, start, c)
    for _ in range(MOST_STEPS):
        p = expit(rows @ weights)
        gradient = c * (rows.T @ (p - labels))
        gradient[:-1] += weights[:-1]
        step = np.linalg.solve(_hessian(rows, p, c), gradient)
        for _ in range(MOST_HALVINGS):
            moved = weights - step
            reached = _objective(rows, labels, moved, c)
            if reached <= value:
                break
            step /= 2.0
        weights, value = moved, reached
        if np.abs(step).max() <= TOLERANCE * max(float(np.abs(weights).max()), 1e-8):
            break
    return weights


def _objective(rows: FloatArray, labels: IntArray, weights: FloatArray, c: float) -> float:
    loss = np.logaddexp(0.0, (1.0 - 2.0 * labels) * (rows @ weights)).sum()
    return float(0.5 * weights[:-1] @ weights[:-1] + c * loss)


def _hessian(rows: FloatArray, p: FloatArray, c: float) -> FloatArray:
    hessian = c * (rows.T * (p * (1.0 - p))) @ rows
    hessian[np.diag_indices(len(hessian) - 1)] += 1.0
    hessian[-1, -1] += 1e-12
    return np.asarray(hessian)
