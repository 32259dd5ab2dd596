"""Step four: the share of the spread that held-out errors leave explained, with its interval."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import linalg, special

from concept_ppl.analyses.results.rows import Estimate

from .arrays import FloatArray
from .cross_fits import cross_fit
from .decomposition import DecomposedStates
from .design import Design
from .held_out import SquaredErrors, squared_errors
from .intervals import (
    degrees_of_freedom,
    left_out,
    on_scale,
    paired_difference,
    standard_error,
    studentised,
    warn_of_few_clusters,
    without_error,
)


def explained_share(errors: SquaredErrors, level: float) -> Estimate:
    """R² = 1 − SSE/SST with its interval on the log(1 − R²) scale; p-value of R² ≤ 0, one-sided.

    Parameters
    ----------
    errors
        Of all targets that are taken together.
    level
        Confidence level.
    """
    design = errors.design
    warn_of_few_clusters(design)
    sse, sst, sse_training, sst_training = (
        design.cluster_sums(part.sum(axis=1))
        for part in (errors.sse, errors.sst, errors.sse_training, errors.sst_training)
    )
    ratio = float(sse.sum() / sst.sum())
    if ratio == 0.0:
        return without_error(1.0, design, level, p_value=0.0)
    of_errors, of_spread = sse / sse.sum(), sst / sst.sum()
    influence = left_out(of_errors - of_spread, (of_errors + of_spread) / 2.0)
    error = standard_error(influence, sse_training / sse.sum() - sst_training / sst.sum())
    df = degrees_of_freedom(influence)
    p_value = float(special.stdtr(df, studentised(math.log(ratio), error)))
    return on_scale(
        math.log(ratio),
        error,
        df,
        design,
        level,
        scale=lambda log_ratio: 1.0 - math.exp(log_ratio),
        slope=-ratio,
        p_value=p_value,
    )


def difference(
    gain: FloatArray,
    sst: FloatArray,
    design: Design,
    level: float,
    training: tuple[FloatArray, FloatArray] | None = None,
) -> Estimate:
    """Difference of two R² on the same rows, Σ gain / Σ SST; p-value of no difference, two-sided.

    Parameters
    ----------
    gain
        (n,) squared error of the rival minus squared error of the map.
    sst
        (n,) squared error of the training-fold mean.
    design
        Weights and clusters.
    level
        Confidence level.
    training
        (n,) derivatives of the weighted sums of gain and of SST by each row's weight, through
        training; left out where the maps were not fitted to these rows.
    """
    gains, totals = design.cluster_sums(gain), design.cluster_sums(sst)
    value = float(gains.sum() / totals.sum())
    influence = left_out((gains - value * totals) / totals.sum(), totals / totals.sum())
    pull = None
    if training is not None:
        pull = design.cluster_sums(training[0] - value * training[1]) / totals.sum()
    return paired_difference(value, influence, pull, design, level)


def share_difference(first: SquaredErrors, second: SquaredErrors, level: float) -> Estimate:
    """R² of one map minus that of another on the same rows, with what rows do to both by training.

    The spread is that of the first; both are about the means of the same training folds.
    """
    gain = (second.sse - first.sse).sum(axis=1)
    training = (second.sse_training - first.sse_training).sum(axis=1)
    spread, spread_training = first.sst.sum(axis=1), first.sst_training.sum(axis=1)
    return difference(gain, spread, first.design, level, (training, spread_training))


def backward_share(states: DecomposedStates, Z: FloatArray, level: float) -> Estimate:
    """R²(Z|F) overall, for checked contrasts (n, q): steps two to four at once."""
    return explained_share(squared_errors(cross_fit(states, Z)), level)


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
    along = replace(
        fit,
        targets=Z @ worst,
        predicted=fit.predicted @ worst,
        baseline=fit.baseline @ worst,
        slopes=fit.slopes @ worst,
    )
    return explained_share(squared_errors(along), level)


def cluster_mean(values: FloatArray, design: Design, level: float) -> Estimate:
    """Weighted mean of ``values`` (n,) with its cluster interval; no p-value."""
    found = difference(values, np.ones(design.n), design, level)
    return replace(found, p_value=math.nan)


def cluster_proportion(hits: npt.NDArray[np.bool_], design: Design, level: float) -> Estimate:
    """Weighted share of true rows of ``hits`` (n,) with Wilson's interval; no p-value.

    The sample size in it is the one at which independent rows would vary as much as the clusters
    do (Korn and Graubard 1998, https://www150.statcan.gc.ca/n1/pub/12-001-x/1998002/4356-eng.htm),
    or, where all rows agree, that of the clusters by their weight; quantiles are Student's. So a
    share of 0 or 1 has an interval, too.
    """
    found = cluster_mean(hits.astype(np.float64), design, level)
    p, variance = min(max(found.estimate, 0.0), 1.0), found.std_error**2
    mass = design.cluster_sums(np.ones(design.n))
    size = float(mass.sum() ** 2 / (mass @ mass))
    if 0.0 < p < 1.0 and variance > 0.0:
        size = min(p * (1.0 - p) / variance, float(design.n))
    df = design.n_clusters - 1.0 if found.df is None else found.df
    square = float(special.stdtrit(df, 0.5 + level / 2.0)) ** 2
    centre = (p + square / (2.0 * size)) / (1.0 + square / size)
    reach = math.sqrt(square * (p * (1.0 - p) / size + square / (4.0 * size**2)))
    reach /= 1.0 + square / size
    return replace(
        found, estimate=p, ci_low=max(centre - reach, 0.0), ci_high=min(centre + reach, 1.0)
    )
