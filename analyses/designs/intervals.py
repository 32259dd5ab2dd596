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
from dataclasses import dataclass

import numpy as np
from scipy import stats

from concept_ppl.analyses.results.rows import Estimate

from .arrays import FloatArray
from .design import Design

Scale = Callable[[float], float]

FEWEST_CLUSTERS = 10
"""Fewer have not been shown to give intervals that cover."""


@dataclass(frozen=True, slots=True, eq=False)
class SquaredErrors:
    """Held-out squared errors of a map and of the training-fold means, for t targets.

    Attributes
    ----------
    sse, sst
        (n, t) squared errors of the map and of the means.
    sse_training, sst_training
        (n, t) derivatives of their weighted sums by the weight of each row, through training.
    """

    sse: FloatArray
    sst: FloatArray
    sse_training: FloatArray
    sst_training: FloatArray

    def column(self, i: int) -> "SquaredErrors":
        """Keep target ``i`` alone."""
        parts = (self.sse, self.sst, self.sse_training, self.sst_training)
        return SquaredErrors(*(part[:, [i]] for part in parts))


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


def explained_share(errors: SquaredErrors, design: Design, level: float) -> Estimate:
    """R² = 1 − SSE/SST with its interval on the log(1 − R²) scale; p-value of R² ≤ 0, one-sided.

    Parameters
    ----------
    errors
        Of all targets that are taken together.
    design
        Weights and clusters.
    level
        Confidence level.
    """
    warn_of_few_clusters(design)
    sse, sst, sse_training, sst_training = (
        design.cluster_sums(part.sum(axis=1))
        for part in (errors.sse, errors.sst, errors.sse_training, errors.sst_training)
    )
    ratio = float(sse.sum() / sst.sum())
    if ratio == 0.0:
        return _fixed(1.0, design, level, p_value=0.0)
    of_errors, of_spread = sse / sse.sum(), sst / sst.sum()
    influence = left_out(of_errors - of_spread, (of_errors + of_spread) / 2.0)
    error = standard_error(influence, sse_training / sse.sum() - sst_training / sst.sum())
    df = degrees_of_freedom(influence)
    p_value = float(stats.t.cdf(_studentised(math.log(ratio), error), df))
    return _estimate(
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
    return _no_difference(value, influence, pull, design, level)


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
    return _no_difference(
        values[0] - values[1], tests[0] - tests[1], pulls[0] - pulls[1], design, level
    )


def _no_difference(
    value: float, test: FloatArray, training: FloatArray | None, design: Design, level: float
) -> Estimate:
    error, df = standard_error(test, training), degrees_of_freedom(test)
    p_value = 2.0 * float(stats.t.sf(abs(_studentised(value, error)), df))
    return _estimate(value, error, df, design, level, scale=float, slope=1.0, p_value=p_value)


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
        p_values.append(float(stats.t.sf(statistic, len(sums) - 1)))
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
        return _fixed(signed_square(rho), design, level, p_value)
    return _estimate(
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
        return _fixed(mean, design, level, p_value=math.nan)
    slopes = 2.0 * np.abs(rho) / len(rho)
    error = standard_error(slopes @ test, slopes @ training)
    return _estimate(
        math.log(room),
        error / room,
        degrees_of_freedom(slopes @ test),
        design,
        level,
        scale=lambda log_room: 1.0 - math.exp(log_room),
        slope=-room,
        p_value=math.nan,
    )


def _studentised(theta: float, error: float) -> float:
    """θ over its standard error; 0 where both vanish, as for a control that does not vary."""
    if error > 0:
        return theta / error
    return math.copysign(math.inf, theta) if theta else 0.0


def _estimate(
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
    reach = float(stats.t.ppf(0.5 + level / 2.0, df)) * error
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


def _fixed(value: float, design: Design, level: float, p_value: float) -> Estimate:
    """Make an estimate at the edge of its range, where the sample holds no error at all."""
    return Estimate(value, 0.0, value, value, level, p_value, design.n, design.n_clusters)
