"""What maps that were fitted to earlier folds alone predict: errors that may be added up.

In K-fold cross-fitting each row trains the maps of the other folds, so that without a relation the
products of contrasts and predictions depend on each other across folds, and no test may pool them.
Here fold k is predicted from the folds before it (the prequential principle: Dawid 1984,
https://doi.org/10.2307/2981683). Given the past the map is fixed and the rows of fold k are new:
products whose mean is zero given any map are martingale differences, their sum over folds is
asymptotically normal, and its variance is the sum of their squares. The first two folds only train,
because tuning is nested; what they cost in rows, a test of all later folds together repays.

A direction without a relation is predicted to be nearly constant, by noise that is 1/√n as large as
other predictions. Errors in telling it from the others would then be as large as itself. So that
they are not, predictions are whitened by the covariance that they have among the past rows, with
its symmetric root, which keeps the axes of whitened contrasts: they neither turn nor swap from fold
to fold.
"""

from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.cross_fits import (
    PENALTIES,
    HeldOutRows,
    held_out_losses,
    regressands,
    whitener,
)
from concept_ppl.analyses.designs.decomposition import DecomposedStates, decomposed_sides
from concept_ppl.analyses.designs.ridge.band_sides import Side
from concept_ppl.analyses.designs.ridge.state_rows import rows_of
from concept_ppl.analyses.designs.training_moments import HeldOut, training_moments

FIRST_FOLD = 2
"""The folds before it only train: a penalty is chosen by predicting one from the other."""


NO_SPREAD = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class PrequentialVariates:
    """Whitened predictions of the rows of later folds.

    Attributes
    ----------
    rows
        (m,) numbers of the rows that are predicted.
    variates
        (m, t) predictions of their targets, of covariance I among past rows; a direction that past
        rows give no spread stays at zero.
    """

    rows: IntArray
    variates: FloatArray


def prequential_variates(states: DecomposedStates, Y: FloatArray) -> PrequentialVariates:
    """Predict whitened Y (n, t) by ridge maps of earlier folds.

    Raises
    ------
    InputError
        If the columns of Y are collinear.
    """
    design = states.design
    Y = Y @ whitener(Y, design)  # one basis for all folds: it decides no rank
    moments, own = (training_moments(X, Y, design) for X in (states.rows, rows_of(Y)))
    sides = _sides_of_the_past(states)
    variates = np.empty_like(Y)
    for k in range(FIRST_FOLD, design.n_folds):
        later = tuple(range(k, design.n_folds))
        past = float(design.weights[design.folds < k].sum())
        rotation = _inverse_root(own.without(later)[2] / past)

        def losses(j: int, later: HeldOut = later, rotation: FloatArray = rotation) -> FloatArray:
            rows, side = design.members[j], sides[j, *later]
            targets = regressands(states, Y, moments, (j, *later))
            part = HeldOutRows(
                states.rows, rows, Y[rows] - targets.mean, design.weights[rows], rotation
            )
            return held_out_losses(side, side.scores(targets), [part], PENALTIES * side.top)[0]

        loss = np.sum(states.each(losses, range(k)), axis=0)
        rows, side = design.members[k], sides[later]
        targets, train = regressands(states, Y, moments, later), states.training_rows(later, side)
        penalty = np.array([PENALTIES[loss.argmin()] * side.top])
        slopes = side.slopes(side.scores(targets), penalty)[:, 0] @ rotation
        spread = train.times(slopes) * np.sqrt(train.weights)[:, None]
        slopes = slopes @ _inverse_root(spread.T @ spread / past)
        variates[rows] = states.rows.times(slopes, rows) - side.mean @ slopes
    tested = np.flatnonzero(design.folds >= FIRST_FOLD)
    return PrequentialVariates(tested, variates[tested])


def _sides_of_the_past(states: DecomposedStates) -> dict[HeldOut, Side]:
    """Decompose the folds before each tested one, all of them and all but one in turn."""
    n_folds = states.design.n_folds
    wanted: list[HeldOut] = []
    for k in range(FIRST_FOLD, n_folds):
        later = tuple(range(k, n_folds))
        wanted += [later, *((j, *later) for j in range(k))]
    missing = [out for out in wanted if out not in states.spectra]
    return {**states.spectra, **decomposed_sides(states.rows, states.design, missing)}


def _inverse_root(covariance: FloatArray) -> FloatArray:
    """Symmetric inverse root; zero along directions without spread."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > NO_SPREAD * values[-1]
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T)
