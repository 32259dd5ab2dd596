"""Squared errors on rows that no map has seen, and the share they leave explained."""

from dataclasses import replace

import numpy as np
from scipy import linalg

from concept_ppl.analyses.results.rows import Estimate

from .arrays import FloatArray
from .design import Design
from .intervals import SquaredErrors, difference, explained_share
from .ridge import CrossFit, DecomposedStates, cross_fit
from .training_influence import baseline_influence, training_influence


def backward_share(states: DecomposedStates, Z: FloatArray, level: float) -> Estimate:
    """R²(Z|F) overall, for checked contrasts (n, q)."""
    errors = squared_errors(states, Z, cross_fit(states, Z))
    return explained_share(errors, states.design, level)


def least_share(states: DecomposedStates, Z: FloatArray, level: float) -> Estimate:
    """R²(v'Z|F) of the direction v of Z (n, q) that is decoded worst, held out.

    The direction is the one that the held-out rows themselves call the worst, all folds together:
    the first eigenvector of their errors in the metric of their spread. Whatever direction is the
    worst in the population, the sample's value for it is at least as large, so that a lower bound
    holds for it too, without asking how well directions are estimated. R² of a prediction is
    nowhere above its squared correlation: the bound is one of the smallest ρ² as well.
    """
    design, fit = states.design, cross_fit(states, Z, whiten=True)
    weights = design.weights[:, None]
    residuals, deviations = Z - fit.predicted, Z - fit.baseline
    of_errors, of_spread = (part.T @ (weights * part) for part in (residuals, deviations))
    worst = linalg.eigh(of_errors, of_spread)[1][:, [-1]]
    along = replace(fit, predicted=fit.predicted @ worst, baseline=fit.baseline @ worst)
    return explained_share(squared_errors(states, Z @ worst, along), design, level)


def squared_errors(states: DecomposedStates, Y: FloatArray, fit: CrossFit) -> SquaredErrors:
    """Squared held-out errors of a fit of Y (n, t), and how each row moves them by training."""
    weights = states.design.weights[:, None]
    residuals, deviations = Y - fit.predicted, Y - fit.baseline
    return SquaredErrors(
        np.square(residuals),
        np.square(deviations),
        training_influence(states, Y, fit, -2.0 * weights * residuals),
        baseline_influence(states, Y, fit, -2.0 * weights * deviations),
    )


def share_difference(
    first: SquaredErrors, second: SquaredErrors, design: Design, level: float
) -> Estimate:
    """R² of one map minus that of another on the same rows, with what rows do to both by training.

    The spread is that of the first; both are about the means of the same training folds.
    """
    gain = (second.sse - first.sse).sum(axis=1)
    training = (second.sse_training - first.sse_training).sum(axis=1)
    spread, spread_training = first.sst.sum(axis=1), first.sst_training.sum(axis=1)
    return difference(gain, spread, design, level, (training, spread_training))
