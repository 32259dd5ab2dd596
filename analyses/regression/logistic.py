"""What can be classified linearly, held out: multinomial logistic regression with nested tuning.

Folds as in `ridge`: training without {j, k} serves outer fold k with inner fold j and outer fold j
with inner fold k. Penalties run from the strongest, each fit starting where the last one ended, and
stop at the first that is worse on held-out folds than the one before: the loss falls and then rises
along the path, and its weakly penalised end, where fits are slowest, is seldom needed.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.decomposition import DecomposedStates
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.training_moments import HeldOut

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

INVERSE_PENALTIES: FloatArray = 10.0 ** np.arange(-4.0, 4.1, 1.0)
"""Values of C tried, for components of mean variance one and weights of mean one."""

NULL_VARIANCE = 1e-10
MAX_ITERATIONS = 500


@dataclass(frozen=True, slots=True, eq=False)
class LogisticCrossFit:
    """Held-out log-probabilities and what the nested tuning chose.

    Attributes
    ----------
    log_p
        (n, K) for each row, by the fit that never saw its fold.
    inverse_penalties
        C of each outer fold.
    unconverged
        How many of the outer fits reached the limit of iterations.
    """

    log_p: FloatArray
    inverse_penalties: tuple[float, ...]
    unconverged: int


def logistic_cross_fit(
    states: DecomposedStates, values: IntArray, n_components: int | None = None
) -> LogisticCrossFit:
    """Predict values (n,) from the states, each fold by a fit that was tuned without it.

    Parameters
    ----------
    states
        Decomposed states.
    values
        Codes 0 … K − 1, each of them in every training set.
    n_components
        Most principal components of the training folds that are used; all by default.
    """
    design = states.design
    folds = range(design.n_folds)
    losses = np.zeros((design.n_folds, len(INVERSE_PENALTIES)))
    for j, k in combinations(folds, 2):
        found = _inner_losses(states, values, (j, k), n_components)
        losses[[k, j], : found.shape[1]] += found
        losses[[k, j], found.shape[1] :] = np.inf
    log_p = np.empty((design.n, int(values.max()) + 1))
    chosen = losses.argmin(axis=1)
    unconverged = 0
    for k in folds:
        X = _components(states, (k,), n_components)
        rows = design.folds == k
        path = _path(X, values, design, ~rows)
        fit, converged = next(step for i, step in enumerate(path) if i == chosen[k])
        unconverged += not converged
        log_p[rows] = fit.predict_log_proba(X[rows])
    return LogisticCrossFit(log_p, tuple(INVERSE_PENALTIES[chosen].tolist()), unconverged)


def _inner_losses(
    states: DecomposedStates, values: IntArray, out: HeldOut, n_components: int | None
) -> FloatArray:
    """Log-loss (2, steps) on each of the two held-out folds, up to where the path stops."""
    design = states.design
    X = _components(states, out, n_components)
    held_out = [np.flatnonzero(design.folds == fold) for fold in out]
    losses: list[list[float]] = []
    for fit, _ in _path(X, values, design, ~np.isin(design.folds, out)):
        log_p = [fit.predict_log_proba(X[rows]) for rows in held_out]
        losses.append(
            [
                -float(design.weights[rows] @ part[np.arange(len(rows)), values[rows]])
                for rows, part in zip(held_out, log_p, strict=True)
            ]
        )
        if len(losses) > 1 and sum(losses[-1]) > sum(losses[-2]):
            break
    return np.array(losses).T


def _components(states: DecomposedStates, out: HeldOut, n_components: int | None) -> FloatArray:
    """Leading principal components of all rows, scaled together to a mean training variance of 1.

    One scale for all, as in ridge regression: states are known only up to a linear map.
    """
    spectrum = states.spectra[out].full()
    width = max(1, int(np.sum(spectrum.values > NULL_VARIANCE * spectrum.top)))
    if n_components is not None:
        width = min(width, n_components)
    mass = states.design.weights[~np.isin(states.design.folds, out)].sum()
    variance = float(spectrum.values[::-1][:width].mean() / mass)
    leading = spectrum.vectors[:, ::-1][:, :width]
    scores = states.rows.times(leading) - spectrum.mean @ leading
    return np.asarray(scores / math.sqrt(variance) if variance > 0 else scores)


def _path(
    X: FloatArray, values: IntArray, design: Design, train: npt.NDArray[np.bool_]
) -> Iterator[tuple["LogisticRegression", bool]]:
    """Fit under each penalty from the strongest; whether it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(warm_start=True, max_iter=MAX_ITERATIONS)
    for C in INVERSE_PENALTIES:
        model.C = float(C)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(X[train], values[train], sample_weight=design.weights[train])
        yield model, not any(issubclass(found.category, ConvergenceWarning) for found in caught)
