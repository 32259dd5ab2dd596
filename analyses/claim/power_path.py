"""Between log-posterior and posterior: contrasts of (p^α − 1)/α, and where along α states fit best.

The power path (Box and Cox 1964, https://doi.org/10.1111/j.2517-6161.1964.tb00553.x) joins log p
at α = 0 to p itself, up to an affine map, at α = 1. Contrasts are taken against the first value of
each concept, where they span the same space as against any other.

Fit is measured by the mean squared canonical correlation, which no invertible affine map of either
side changes, so that the scale of p^α, which runs with α, plays no part. With the states as the
response it is, up to a constant, the share of their variance (in the metric of their own
covariance) that an affine function of t_α(p) explains: the response is the same for every α, and
no Jacobian is needed. If E[F | p] is affine in t_α(p) for one α, the population value is largest
there, whatever the noise of the states.
"""

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.designs.design import Design

FINE_STEPS = 800
MOST_ZOOMS = 6
ZOOM = 0.5
NUMBERS_AT_ONCE = 1 << 22


def power_contrasts(log_p: FloatArray, alpha: float) -> FloatArray:
    """t_α(p_j) − t_α(p_0) for all values but the first, (n, K − 1), from log p (n, K) in nats."""
    powers = np.expm1(alpha * log_p) / alpha if alpha else log_p
    return np.asarray(powers[:, 1:] - powers[:, :1])


def best_powers(
    directions: FloatArray,
    concepts: Sequence[FloatArray],
    design: Design,
    draws: FloatArray,
    powers: FloatArray,
) -> FloatArray:
    """Power (B,) at which the fit is best, refitted under each row of weights.

    Cubic splines through a coarse grid find the maxima, and a grid of as many points across the
    range in which they lie finds them again, until that range is no longer much smaller: error of
    interpolation then is small beside the spread of the maxima.

    Parameters
    ----------
    directions
        (n, r) directions of the states, r small, the same in all replicates.
    concepts
        log p (n, K) of each concept.
    design
        Weights and clusters.
    draws
        (B, n_clusters) what the weights of each cluster are multiplied by.
    powers
        Coarse grid, whose ends bound the search.
    """
    mass = draws[:, design.clusters] * design.weights
    for _ in range(MOST_ZOOMS):
        profile = [_mean_squares(directions, contrasts(concepts, a), mass) for a in powers]
        fine = np.linspace(powers[0], powers[-1], FINE_STEPS + 1)
        best = fine[CubicSpline(powers, np.array(profile))(fine).argmax(axis=0)]
        step = (powers[-1] - powers[0]) / (len(powers) - 1)
        low, high = max(powers[0], best.min() - step), min(powers[-1], best.max() + step)
        if high - low > ZOOM * (powers[-1] - powers[0]):
            break
        powers = np.linspace(low, high, len(powers))
    return np.asarray(best)


def contrasts(concepts: Sequence[FloatArray], alpha: float) -> FloatArray:
    """Contrasts (n, q) of all concepts at one power, side by side."""
    return np.hstack([power_contrasts(table, alpha) for table in concepts])


def _mean_squares(D: FloatArray, Z: FloatArray, mass: FloatArray) -> FloatArray:
    """tr(S_ZZ⁻¹ S_ZD S_DD⁻¹ S_DZ)/q under each row of weights (B, n): all moments in one product.

    Columns are scaled by their overall spread first, for accuracy alone.
    """
    X = np.hstack([D, Z])
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    X = np.hstack([np.ones((len(X), 1)), X])
    first, second = np.triu_indices(X.shape[1])
    upper = np.zeros((len(mass), len(first)))
    step = max(1, NUMBERS_AT_ONCE // len(first))
    for start in range(0, len(X), step):
        part = X[start : start + step]
        upper += mass[:, start : start + step] @ (part[:, first] * part[:, second])
    moments = np.empty((len(mass), X.shape[1], X.shape[1]))
    moments[:, first, second] = moments[:, second, first] = upper / upper[:, :1]
    mean = moments[:, 1:, :1]
    S = moments[:, 1:, 1:] - mean * mean.transpose(0, 2, 1)
    r = D.shape[1]
    across = S[:, :r, r:]
    explained = across.transpose(0, 2, 1) @ np.linalg.solve(S[:, :r, :r], across)
    solved = np.linalg.solve(S[:, r:, r:], explained)
    return np.asarray(np.trace(solved, axis1=1, axis2=2) / Z.shape[1])
