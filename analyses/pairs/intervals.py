"""How sure is a mean over word pairs: intervals from the influence of each unit of pairs.

The influence of a unit is the derivative of the estimate by its weight, as judged pairs and as
training pairs together; the variance is the sum of their squares (the infinitesimal jackknife;
Efron 1982, https://doi.org/10.1137/1.9781611970319), with the degrees of freedom that it can
carry. Resampling pairs and taking percentiles would centre on weights that were fitted to fewer
distinct words, and so too low.
"""

import math

import numpy as np
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.designs.intervals import (
    degrees_of_freedom,
    effective_size,
    share_limits,
)
from concept_ppl.analyses.results.rows import Estimate


def influence_error(influence: FloatArray) -> tuple[float, float]:
    """Return the standard error from the influence (n_components,) of units, and its df.

    Units without influence are not counted; NaN where fewer than two have any.
    """
    active = influence[influence != 0.0]
    if len(active) < 2:
        return math.nan, math.nan
    variance = len(active) / (len(active) - 1) * float(active @ active)
    return math.sqrt(variance), degrees_of_freedom(active)


def cosine_estimate(
    value: float,
    influence: FloatArray,
    level: float,
    p_value: float | None,
    n: int,
    n_units: int,
) -> Estimate:
    """Return a mean cosine with its interval on Fisher's z, which keeps it within −1 and 1.

    Parameters
    ----------
    value, influence
        The estimate, and the influence (n_components,) of each unit on it.
    level
        Confidence level.
    p_value
        From elsewhere; None for the interval's own test of the null that the expected cosine is 0,
        two-sided.
    n, n_units
        Pairs and units behind the estimate.
    """
    error, df = influence_error(influence)
    if math.isnan(error) or not error > 0.0 or abs(value) >= 1.0:
        given = math.nan if p_value is None else p_value
        return Estimate(value, error, math.nan, math.nan, level, given, n, n_units)
    spread = error / (1.0 - value**2)
    reach = float(special.stdtrit(df, 0.5 + level / 2.0)) * spread
    low, high = (math.tanh(math.atanh(value) + shift) for shift in (-reach, reach))
    if p_value is None:
        p_value = 2.0 * float(special.stdtr(df, -abs(math.atanh(value)) / spread))
    return Estimate(value, error, low, high, level, p_value, n, n_units, df)


def share_estimate(
    value: float, influence: FloatArray, level: float, n: int, n_units: int
) -> Estimate:
    """Return a share with the limits of `share_limits`, its size that of its own error."""
    error, df = influence_error(influence)
    variance = 0.0 if math.isnan(error) else error**2
    size = effective_size(value, variance, np.ones(n_units), n, df)
    low, high = share_limits(value, size, level)
    return Estimate(value, error, low, high, level, math.nan, n, n_units, df)


def plain_estimate(
    value: float, influence: FloatArray, level: float, n: int, n_units: int
) -> Estimate:
    """Return a number on its own scale with Student's interval and two-sided test of zero."""
    error, df = influence_error(influence)
    if math.isnan(error) or not error > 0.0:
        return Estimate(value, error, math.nan, math.nan, level, math.nan, n, n_units)
    reach = float(special.stdtrit(df, 0.5 + level / 2.0)) * error
    p_value = 2.0 * float(special.stdtr(df, -abs(value) / error))
    return Estimate(value, error, value - reach, value + reach, level, p_value, n, n_units, df)


def mean_influence(influence: FloatArray) -> FloatArray:
    """Influence (n_components,) on the mean over concepts, from that on each (…, n_concepts)."""
    return np.asarray(influence.mean(axis=1))
