"""Which direction tells second words from first words: one concept's ridge logistic regression.

The penalty makes the weights a combination of the training words, so the regression is solved in
the coordinates of their span: exact, and small whatever the width of the states.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .designs import FloatArray, IntArray

INVERSE_PENALTIES: FloatArray = 10.0 ** np.arange(-4.0, 1.0)
"""Values of C tried, for states whose coordinates have a mean square of one."""

INNER_FOLDS = 3


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
    model = _fit(scores, labels, c)
    weights = model.coef_[0]
    return weights @ span, _influence(scores, labels, weights, float(model.intercept_[0]), c) @ span


def _influence(
    scores: FloatArray, labels: IntArray, weights: FloatArray, intercept: float, c: float
) -> FloatArray:
    """Return the derivative (n, r) of the weights by each pair's weight (implicit theorem)."""
    n = len(scores) // 2
    p = expit(scores @ weights + intercept)
    rows = np.column_stack([scores, np.ones(2 * n)])
    hessian = c * (rows.T * (p * (1.0 - p))) @ rows
    hessian[:-1, :-1] += np.eye(len(weights))
    hessian[-1, -1] += 1e-12
    gradients = c * (labels - p)[:, None] * rows
    moved = np.linalg.solve(hessian, (gradients[:n] + gradients[n:]).T).T
    return np.asarray(moved[:, :-1])


def _choose(scores: FloatArray, labels: IntArray, unit: IntArray, seed: int) -> float:
    """C of the least held-out log-loss; the strongest penalty where no unit can be held out."""
    losses = np.zeros(len(INVERSE_PENALTIES))
    for training, held_out in _inner_folds(unit, seed):
        sign = 2.0 * labels[held_out] - 1.0
        for i, c in enumerate(INVERSE_PENALTIES):
            model = _fit(scores[training], labels[training], c)
            odds = scores[held_out] @ model.coef_[0] + model.intercept_[0]
            losses[i] += np.logaddexp(0.0, -sign * odds).sum()
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


def _fit(scores: FloatArray, labels: IntArray, c: float) -> LogisticRegression:
    model = LogisticRegression(C=c, solver="newton-cholesky", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(scores, labels)
