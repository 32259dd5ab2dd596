"""Step four for canonical directions: held-out correlations and their squares, with intervals."""

import math

import numpy as np
from scipy import special

from concept_ppl.analyses.results.rows import Estimate

from .arrays import FloatArray
from .design import Design
from .intervals import (
    degrees_of_freedom,
    left_out,
    on_scale,
    paired_difference,
    standard_error,
    without_error,
)


def correlation_influence(
    a: FloatArray, b: FloatArray, design: Design
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray]]:
    """Correlations of held-out scores about zero, their influences, and how the scores move them.

    Parameters
    ----------
    a, b
        (n, q) scores centred by the means of their training folds, correlated column by column.
    design
        Weights and clusters.

    Returns
    -------
    rho, influence, gradients
        The (q,) correlations; (q, n_clusters) influences of the clusters as test rows, left out
        (Devlin et al. 1975, https://doi.org/10.1093/biomet/62.3.531); (n, q) derivatives by the
        scores ``a`` and by the scores ``b``.
    """
    total = design.weights.sum()
    mass = design.weights[:, None] / total
    size_a, size_b = np.sqrt((mass * a**2).sum(axis=0)), np.sqrt((mass * b**2).sum(axis=0))
    a, b = a / size_a, b / size_b
    rho = (mass * a * b).sum(axis=0)
    products = np.array([design.cluster_sums(column) for column in (a * b).T]) / total
    share = np.array([design.cluster_sums(column) for column in (a**2 + b**2).T]) / (2.0 * total)
    influence = left_out(products - rho[:, None] * share, share)
    return rho, influence, (mass * (b - rho * a) / size_a, mass * (a - rho * b) / size_b)


def signed_square(rho: float) -> float:
    """ρ² with the sign of ρ, so that a held-out correlation below zero never looks like a fit."""
    return math.copysign(rho**2, rho)


def no_relation_p_value(a: FloatArray, b: FloatArray, design: Design) -> float:
    """One-sided p-value of no positive relation: twice the median of the folds' own tests.

    Without a relation the scores of different folds depend on each other through their training
    rows to the same order as their variance, so that no test may pool them. Within a fold they are
    fixed functions of new rows: a cluster-robust t test of their covariance is valid there, and
    twice the median of p-values is valid under any dependence between folds (Meinshausen, Meier
    and Bühlmann 2009, https://doi.org/10.1198/jasa.2009.tm08647).

    Parameters
    ----------
    a, b
        (n,) held-out scores.
    design
        Weights, clusters and folds.
    """
    p_values = []
    for k in range(design.n_folds):
        rows = design.folds == k
        weights = design.weights[rows]
        products = (a[rows] - np.average(a[rows], weights=weights)) * (
            b[rows] - np.average(b[rows], weights=weights)
        )
        _, codes = np.unique(design.clusters[rows], return_inverse=True)
        sums = np.bincount(codes, weights=weights * products)
        if len(sums) < 2:
            return 1.0
        error = math.sqrt(len(sums) / (len(sums) - 1)) * float(np.linalg.norm(sums - sums.mean()))
        statistic = sums.sum() / error if error > 0 else 0.0
        p_values.append(float(special.stdtr(len(sums) - 1, -statistic)))
    return min(1.0, 2.0 * float(np.median(p_values)))


def squared_correlation(
    rho: float,
    error: float,
    p_value: float,
    design: Design,
    level: float,
    df: float | None = None,
) -> Estimate:
    """Sign-preserving square of a correlation with this standard error, interval on Fisher's z.

    Degrees of freedom are those of the clusters, G − 1, by default.
    """
    room = 1.0 - rho**2
    if room <= np.finfo(np.float64).eps:
        return without_error(signed_square(rho), design, level, p_value)
    return on_scale(
        math.atanh(rho),
        error / room,
        design.n_clusters - 1.0 if df is None else df,
        design,
        level,
        scale=lambda z: signed_square(math.tanh(z)),
        slope=2.0 * abs(rho) * room,
        p_value=p_value,
    )


def mean_squared_correlation(
    rho: FloatArray, test: FloatArray, training: FloatArray, design: Design, level: float
) -> Estimate:
    """Mean of the signed squares of correlations (q,), influences (q, n_clusters); no test.

    The interval is on the log(1 − mean) scale, as for R².
    """
    mean = float(np.mean([signed_square(r) for r in rho]))
    room = 1.0 - mean
    if room <= np.finfo(np.float64).eps:
        return without_error(mean, design, level, p_value=math.nan)
    slopes = 2.0 * np.abs(rho) / len(rho)
    error = standard_error(slopes @ test, slopes @ training)
    return on_scale(
        math.log(room),
        error / room,
        degrees_of_freedom(slopes @ test),
        design,
        level,
        scale=lambda log_room: 1.0 - math.exp(log_room),
        slope=-room,
        p_value=math.nan,
    )


def squared_correlation_difference(
    first: tuple[FloatArray, FloatArray, FloatArray],
    second: tuple[FloatArray, FloatArray, FloatArray],
    design: Design,
    level: float,
) -> Estimate:
    """Mean signed ρ² of one set of maps minus that of another; p-value of no difference, two-sided.

    Parameters
    ----------
    first, second
        Correlations (q,) and their influences (q, n_clusters), as test rows and through training,
        of the same rows.
    design, level
        As above.
    """
    values, tests, pulls = [], [], []
    for rho, test, training in (first, second):
        slopes = 2.0 * np.abs(rho) / len(rho)
        values.append(float(np.mean([signed_square(r) for r in rho])))
        tests.append(slopes @ test)
        pulls.append(slopes @ training)
    return paired_difference(
        values[0] - values[1], tests[0] - tests[1], pulls[0] - pulls[1], design, level
    )
