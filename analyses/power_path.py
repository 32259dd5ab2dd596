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

import numpy as np
from scipy.interpolate import CubicSpline

from .designs import Design, FloatArray

FINE_STEPS = 800
NUMBERS_AT_ONCE = 1 << 22


def power_contrasts(log_p: FloatArray, alpha: float) -> FloatArray:
    """t_α(p_j) − t_α(p_0) for all values but the first, (n, K − 1), from log p (n, K) in nats."""
    powers = np.expm1(alpha * log_p) / alpha if alpha else log_p
    return np.asarray(powers[:, 1:] - powers[:, :1])


def resampled_profile(
    directions: FloatArray, path: list[FloatArray], design: Design, draws: FloatArray
) -> FloatArray:
    """Mean squared canonical correlation along the path, refitted in every replicate.

    Parameters
    ----------
    directions
        (n, r) directions of the states, r small, the same in all replicates.
    path
        Contrasts (n, q) at each of the A powers.
    design
        Weights and clusters.
    draws
        (B, n_clusters) what the weights of each cluster are multiplied by.

    Returns
    -------
    profile
        (B, A).
    """
    mass = draws[:, design.clusters] * design.weights
    return np.column_stack([_mean_squares(directions, Z, mass) for Z in path])


def best_power(profile: FloatArray, powers: FloatArray) -> FloatArray:
    """Powers (B,) at which cubic splines through the profiles (B, A) are largest."""
    fine = np.linspace(powers[0], powers[-1], FINE_STEPS + 1)
    return np.asarray(fine[CubicSpline(powers, profile, axis=1)(fine).argmax(axis=1)])


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
