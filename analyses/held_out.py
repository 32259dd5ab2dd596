"""Squared errors on rows that no map has seen, and the share they leave explained."""

import numpy as np

from .designs import FloatArray
from .intervals import SquaredErrors, explained_share
from .results import Estimate
from .ridge import CrossFit, DecomposedStates, cross_fit
from .training_influence import baseline_influence, training_influence


def backward_share(states: DecomposedStates, Z: FloatArray, level: float) -> Estimate:
    """R²(Z|F) overall, for checked contrasts (n, q)."""
    errors = squared_errors(states, Z, cross_fit(states, Z))
    return explained_share(errors, states.design, level)


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
