"""How sure is a held-out number: delta-method intervals from its influence summed over clusters.

Every estimate here is a smooth function of sums over rows, so that its error is, to first order, a
sum over clusters of influences ψ_g with mean zero, and its variance is G/(G − 1) Σ ψ_g². The maps
count as given: the estimand is the average performance of the K fitted maps on new clusters
(Bayle et al. 2020, https://arxiv.org/abs/2007.12671).

Two corrections keep few clusters and heavy tails honest. Influences are those of leaving a cluster
out (the jackknife; MacKinnon, Nielsen and Webb 2023, https://doi.org/10.1002/jae.2969), because a
cluster that holds much of a denominator pulls the estimate towards itself. Student's quantiles have
the degrees of freedom that the kurtosis of these influences leaves to their sum of squares.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy import special

from concept_ppl.analyses.results.rows import Estimate

from .arrays import FloatArray
from .design import Design

Scale = Callable[[float], float]

FEWEST_CLUSTERS = 10
"""Fewer have not been shown to give intervals that cover."""


def standard_error(test: FloatArray, training: FloatArray | None = None) -> float:
    """Return the standard error of an estimate from the influences of its clusters.

    Parameters
    ----------
    test
        (n_clusters,) influence as test rows, summing to zero.
    training
        (n_clusters,) influence through the maps of the other folds; see `training_influence`.
    """
    n_clusters = len(test)
    variance = float(test @ test)
    if training is not None:
        variance += min(float(training @ training), variance)
    return math.sqrt(n_clusters / (n_clusters - 1) * variance)


def left_out(influence: FloatArray, share: FloatArray) -> FloatArray:
    """Turn influences of clusters into those of leaving each cluster out, for `standard_error`.

    A ratio N/D without cluster g moves by (N_g − D_g N/D) / (D − D_g): by its influence over
    1 − D_g/D. The factor (G − 1)/G makes the variance that of the jackknife, (G − 1)/G Σ ψ_g².

    Parameters
    ----------
    influence
        (..., n_clusters), to first order.
    share
        (..., n_clusters) of each cluster in the denominator, below 1.
    """
    n_clusters = influence.shape[-1]
    return np.asarray((n_clusters - 1) / n_clusters * influence / (1.0 - share))


def degrees_of_freedom(influence: FloatArray) -> float:
    """Degrees of freedom (Satterthwaite 1946, https://doi.org/10.2307/3002019) of Σ ψ_g².

    A sample variance has 2G / (κ − (G − 3)/(G − 1)) with κ the kurtosis: G − 1 where influences are
    Gaussian, the most that is given here, and few where some clusters carry most of the variance.

    Parameters
    ----------
    influence
        (n_clusters,) of the clusters as test rows.
    """
    n_clusters = len(influence)
    squares = np.square(influence)
    if not squares.any():
        return n_clusters - 1.0
    kurtosis = n_clusters * float(squares @ squares) / float(squares.sum()) ** 2
    excess = kurtosis - (n_clusters - 3) / (n_clusters - 1)
    return min(n_clusters - 1.0, 2.0 * n_clusters / excess)


def warn_of_few_clusters(design: Design) -> None:
    """Say that intervals may cover less often than they claim, where there are few clusters."""
    if design.n_clusters < FEWEST_CLUSTERS:
        warnings.warn(
            f"There are {design.n_clusters} clusters, fewer than {FEWEST_CLUSTERS}: intervals may "
            "cover less often than they say; gather more independent units.",
            UserWarning,
            stacklevel=3,
        )


def paired_difference(
    value: float, test: FloatArray, training: FloatArray | None, design: Design, level: float
) -> Estimate:
    """Estimate of a paired difference by its influences (n_clusters,); p-value two-sided."""
    error, df = standard_error(test, training), degrees_of_freedom(test)
    p_value = 2.0 * float(special.stdtr(df, -abs(studentised(value, error))))
    return on_scale(value, error, df, design, level, scale=float, slope=1.0, p_value=p_value)


def studentised(theta: float, error: float) -> float:
    """θ over its standard error; 0 where both vanish, as for a control that does not vary."""
    if error > 0:
        return theta / error
    return math.copysign(math.inf, theta) if theta else 0.0


def share_limits(value: float, size: float, level: float) -> tuple[float, float]:
    """Limits of a share of cases: those of Clopper and Pearson (1934) at an effective sample size.

    They hold their level near 0 and 1 too, where the share plus or minus its standard error leaves
    [0, 1] or has no length, and 100 right of 100 say something about the next ones.

    Parameters
    ----------
    value
        The share, from 0 to 1.
    size
        How many independent cases tell as much; see `share_of_cases`. Above 0.
    level
        Confidence level, two-sided.
    """
    if math.isnan(value):
        return math.nan, math.nan
    hits, tail = value * size, (1.0 - level) / 2.0
    low = float(special.betaincinv(hits, size - hits + 1.0, tail)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1.0, size - hits, 1.0 - tail)) if hits < size else 1.0
    return min(low, value), max(high, value)


def effective_size(
    value: float, variance: float, units: FloatArray, most: float, df: float | None = None
) -> float:
    """Return how many independent cases a share of clustered or weighted ones is worth.

    n* = 1 + p(1 − p) / V, at most ``most`` rows, less where V itself is unsure: by the square of
    Student's quantiles with G − 1 and with ``df`` degrees of freedom (Korn and Graubard 1998,
    https://www150.statcan.gc.ca/n1/en/catalogue/12-001-X19980024356). Where no unit differs from
    another, V says nothing, and each counts once, by Kish's (1965) rule for unequal weights.

    Parameters
    ----------
    value, variance
        The share, and its variance by clusters.
    units
        (n_clusters,) weights of the clusters.
    most
        The number of rows.
    df
        Of V; None where cases are independent, so that V is known from the share.
    """
    if variance > 0.0 and 0.0 < value < 1.0:
        size = min(1.0 + value * (1.0 - value) / variance, most)
        if df is None:
            return size
        sure, unsure = special.stdtrit([max(len(units) - 1.0, df), df], 0.975)
        return size * float(sure / unsure) ** 2
    return float(units.sum() ** 2 / (units @ units))


def share_of_cases(hits: FloatArray, design: Design, level: float) -> Estimate:
    """Weighted share of rows that are hits, with limits that know clusters and stay in [0, 1].

    Parameters
    ----------
    hits
        (n,) 0 or 1, or between: a row that counts in part.
    design
        Weights and clusters.
    level
        Confidence level.
    """
    units = design.cluster_sums(np.ones(design.n))
    value = float(design.cluster_sums(hits).sum() / units.sum())
    value = min(max(value, 0.0), 1.0)
    influence = (design.cluster_sums(hits) - value * units) / units.sum()
    influence = left_out(influence, units / units.sum())
    error = standard_error(influence)
    df = degrees_of_freedom(influence) if design.n_clusters < design.n else None
    size = effective_size(value, error**2, units, design.n, df)
    low, high = share_limits(value, size, level)
    return Estimate(value, error, low, high, level, math.nan, design.n, design.n_clusters)


def on_scale(
    theta: float,
    error: float,
    df: float,
    design: Design,
    level: float,
    *,
    scale: Scale,
    slope: float,
    p_value: float,
) -> Estimate:
    """Interval for ``scale(theta)`` by Student's t on the scale of ``theta``."""
    reach = float(special.stdtrit(df, 0.5 + level / 2.0)) * error
    ends = sorted((scale(theta - reach), scale(theta + reach)))
    return Estimate(
        scale(theta),
        abs(slope) * error,
        ends[0],
        ends[1],
        level,
        p_value,
        design.n,
        design.n_clusters,
        df,
    )


def without_error(value: float, design: Design, level: float, p_value: float) -> Estimate:
    """Make an estimate at the edge of its range, where the sample holds no error at all."""
    return Estimate(value, 0.0, value, value, level, p_value, design.n, design.n_clusters)
