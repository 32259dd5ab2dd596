"""Which part of what a linear map of the states reads does a dictionary's feature reach?"""

import math

import numpy as np
from scipy import special

from concept_ppl.analyses.designs.held_out import SquaredErrors
from concept_ppl.analyses.designs.intervals import (
    degrees_of_freedom,
    left_out,
    standard_error,
)
from concept_ppl.analyses.results.rows import Estimate


def bound_share(errors: SquaredErrors, bound: SquaredErrors, level: float) -> Estimate:
    """Share of the bound's R² that is reached, (SST − SSE) / (SST_b − SSE_b), on the same rows.

    The interval is Fieller's (1954, https://doi.org/10.1111/j.2517-6161.1954.tb00159.x), that of a
    ratio whose denominator is an estimate too, from the influences of clusters on both; it is the
    whole line where the bound itself cannot be told from nothing. p-value of no difference from
    the bound, two-sided.

    Parameters
    ----------
    errors, bound
        Of the features and of the supervised map of the states, same rows and folds.
    level
        Confidence level.
    """
    design = errors.design
    gain, gain_training = _gain(errors)
    most, most_training = _gain(bound)
    total = float(bound.sst.T @ design.weights @ np.ones(bound.sst.shape[1]))
    N, D = gain.sum() / total, most.sum() / total
    share = N / D if D else math.nan
    spread = design.cluster_sums(bound.sst.sum(axis=1)) / total

    def variance(of_gain: float, of_most: float) -> tuple[float, np.ndarray]:
        """Variance of a N + b D, with the influences behind it."""
        test = of_gain * gain + of_most * most
        test = left_out(test / total - spread * test.sum() / total, spread)
        training = (of_gain * gain_training + of_most * most_training) / total
        return standard_error(test, training) ** 2, test

    v_gain, _ = variance(1.0, 0.0)
    v_most, _ = variance(0.0, 1.0)
    v_sum, _ = variance(1.0, 1.0)
    covariance = (v_sum - v_gain - v_most) / 2.0
    v_difference, influence = variance(1.0, -share if math.isfinite(share) else 0.0)
    df = degrees_of_freedom(influence)
    square = float(special.stdtrit(df, 0.5 + level / 2.0)) ** 2
    low, high = _fieller(N, D, v_gain, covariance, v_most, square)
    v_null, null = variance(1.0, -1.0)
    p_value = 1.0
    if v_null > 0:
        p_value = 2.0 * float(special.stdtr(degrees_of_freedom(null), -abs(N - D) / v_null**0.5))
    elif N != D:
        p_value = 0.0
    error = math.sqrt(v_difference) / abs(D) if D else math.nan
    return Estimate(share, error, low, high, level, p_value, design.n, design.n_clusters, df)


def _gain(errors: SquaredErrors) -> tuple[np.ndarray, np.ndarray]:
    """Cluster sums of SST − SSE, and of its derivative through training."""
    design = errors.design
    test = (errors.sst - errors.sse).sum(axis=1)
    training = (errors.sst_training - errors.sse_training).sum(axis=1)
    return design.cluster_sums(test), design.cluster_sums(training)


def _fieller(
    N: float, D: float, v_n: float, covariance: float, v_d: float, square: float
) -> tuple[float, float]:
    """Limits of N/D: where (N − ρ D)² is at most ``square`` times its variance."""
    a, b, c = D**2 - square * v_d, N * D - square * covariance, N**2 - square * v_n
    if a <= 0:
        return -math.inf, math.inf
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return (b - root) / a, (b + root) / a
