"""Step three: squared errors on rows that no map has seen, and how every row moves them."""

from dataclasses import dataclass

import numpy as np

from .arrays import FloatArray
from .cross_fits import CrossFit
from .design import Design
from .training_influence import baseline_influence, training_influence


@dataclass(frozen=True, slots=True, eq=False)
class SquaredErrors:
    """Held-out squared errors of a map and of the training-fold means, for t targets.

    Attributes
    ----------
    design
        Weights and clusters of the rows.
    sse, sst
        (n, t) squared errors of the map and of the means.
    sse_training, sst_training
        (n, t) derivatives of their weighted sums by the weight of each row, through training.
    """

    design: Design
    sse: FloatArray
    sst: FloatArray
    sse_training: FloatArray
    sst_training: FloatArray

    def column(self, i: int) -> "SquaredErrors":
        """Keep target ``i`` alone."""
        parts = (self.sse, self.sst, self.sse_training, self.sst_training)
        return SquaredErrors(self.design, *(part[:, [i]] for part in parts))


def squared_errors(fit: CrossFit) -> SquaredErrors:
    """Squared held-out errors of a fit of Y (n, t), and how each row moves them by training."""
    design = fit.states.design
    weights = design.weights[:, None]
    residuals, deviations = fit.targets - fit.predicted, fit.targets - fit.baseline
    return SquaredErrors(
        design,
        np.square(residuals),
        np.square(deviations),
        training_influence(fit, -2.0 * weights * residuals),
        baseline_influence(fit, -2.0 * weights * deviations),
    )
