"""Which power fits one array of states best, and how well each does: held out, cluster by cluster.

*Where* the best α lies is asked of held-out directions: contrasts at both ends of the path are
decoded by maps that never saw a row's fold. Any linear reduction of F that is fixed given the
training folds is affine in t_α(p) at the same α as F is, so that the error of the maps costs
precision but does not move α, and the bootstrap need not repeat them: clusters are reweighted and
the canonical fit to these few directions is made anew. *How well* it fits is asked of the full
cross-fitted ridge map, with α chosen inside the training folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.cross_fits import CrossFit, cross_fit, whitener
from concept_ppl.analyses.designs.decomposition import DecomposedStates
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.held_out import SquaredErrors
from concept_ppl.analyses.designs.intervals import paired_difference
from concept_ppl.analyses.designs.training_influence import baseline_influence, training_influence
from concept_ppl.analyses.results.rows import Estimate

from .form_checks import ENDS, askable, checked_contrasts
from .power_path import best_powers

POWERS: tuple[float, ...] = tuple(np.arange(-0.25, 1.51, 0.125).tolist())
LIMITS = (-1.0, 3.0)
"""How far the grid is widened where the interval of α reaches its end."""
WIDER = 0.25
LEAST_SHARE = 1e-6
NEAR = 0.1
"""A power is as good as an end of the question where its whole interval is this near to it."""


def holds(alpha: Estimate, end: float) -> bool:
    """Whether α may be ``end``, or is shown to be as good as that."""
    low, high = alpha.ci_low - end, alpha.ci_high - end
    return low <= 0.0 <= high or max(abs(low), abs(high)) <= NEAR


@dataclass(frozen=True, slots=True, eq=False)
class FormFit:
    """One array of states between the logarithm of the posterior and the posterior.

    Attributes
    ----------
    alpha
        Best power, with its percentile bootstrap interval.
    powers
        The grid on which it was sought.
    log, plain
        Cross-fits to the whitened contrasts at both ends.
    """

    alpha: Estimate
    powers: FloatArray
    log: CrossFit
    plain: CrossFit

    @property
    def ends(self) -> tuple[SquaredErrors, SquaredErrors]:
        """Errors at the logarithm and at the posterior itself."""
        log, plain = (whitened_errors([fit]) for fit in (self.log, self.plain))
        return log, plain


def form_fit(
    states: DecomposedStates,
    concepts: Sequence[FloatArray],
    powers: FloatArray | None,
    n_replicates: int,
    seed: int,
    level: float,
) -> FormFit:
    """Find the best power for states; a grid that is None is widened until α lies inside."""
    design = states.design
    ends = [_whitened_fit(states, concepts, end) for end in ENDS]
    directions = _independent(np.hstack([fit.predicted for fit in ends]))
    grid = askable(concepts, np.asarray(POWERS) if powers is None else powers)
    alpha = _alpha(directions, concepts, grid, design, n_replicates, seed, level)
    while powers is None:
        wider = askable(concepts, _widened(grid, alpha))
        if len(wider) == len(grid):
            break
        grid = wider
        alpha = _alpha(directions, concepts, grid, design, n_replicates, seed, level)
    return FormFit(alpha, grid, *ends)


def along_path(form: FormFit, concepts: Sequence[FloatArray]) -> list[CrossFit]:
    """Cross-fit the same states at every power of the grid."""
    known = dict(zip(ENDS, (form.log, form.plain), strict=True))
    states = form.log.states
    return [known.get(a) or _whitened_fit(states, concepts, a) for a in form.powers.tolist()]


def best_power(fits: Sequence[CrossFit]) -> IntArray:
    """(K,) place of the power with the least whitened loss inside the training folds."""
    return np.asarray(np.array([fit.inner_loss for fit in fits]).argmin(axis=0))


def _whitened_fit(
    states: DecomposedStates, concepts: Sequence[FloatArray], power: float
) -> CrossFit:
    return cross_fit(states, checked_contrasts(concepts, power, states.design.n), whiten=True)


def _widened(grid: FloatArray, alpha: Estimate) -> FloatArray:
    """Add powers at an end of the grid that the interval of α reaches, as far as `LIMITS`."""
    step = grid[1] - grid[0]
    below = alpha.ci_low < grid[0] + step / 2 and grid[0] - WIDER >= LIMITS[0]
    above = alpha.ci_high > grid[-1] - step / 2 and grid[-1] + WIDER <= LIMITS[1]
    low = [grid[0] - WIDER] if below else []
    high = [grid[-1] + WIDER] if above else []
    return np.array([*low, *grid, *high])


def _alpha(
    directions: FloatArray,
    concepts: Sequence[FloatArray],
    grid: FloatArray,
    design: Design,
    n_replicates: int,
    seed: int,
    level: float,
) -> Estimate:
    """Best power for the sample, and its percentile interval over reweighted clusters.

    Weights are exponential (Rubin 1981, https://doi.org/10.1214/aos/1176345338): no cluster is
    lost, so that a few of them still determine the fit.
    """
    G = design.n_clusters
    generator = np.random.default_rng(seed)
    draws = np.vstack([np.ones(G), generator.exponential(size=(n_replicates, G))])
    best = best_powers(directions, concepts, design, draws, grid)
    low, high = np.quantile(best[1:], [0.5 - level / 2.0, 0.5 + level / 2.0])
    error = float(best[1:].std(ddof=1))
    return Estimate(
        float(best[0]), error, float(low), float(high), level, float("nan"), design.n, G
    )


def whitened_errors(fits: Sequence[CrossFit], choice: IntArray | None = None) -> SquaredErrors:
    """Errors when each fold k takes the map of ``fits[choice[k]]``, by default of the first.

    In the metric of the inverse covariance of its contrasts over the training folds.
    """
    if choice is None:
        choice = np.zeros(fits[0].states.design.n_folds, np.int64)
    parts = [
        _whitened(fits[i], np.flatnonzero(choice == i)) for i in dict.fromkeys(choice.tolist())
    ]
    return SquaredErrors(
        parts[0].design,
        *(
            np.sum([getattr(part, name) for part in parts], axis=0)
            for name in ("sse", "sst", "sse_training", "sst_training")
        ),
    )


def _whitened(fit: CrossFit, folds: IntArray) -> SquaredErrors:
    """Errors of these folds in the metric of their training folds' inverse covariance of Z.

    Columns of the training parts have a meaning only when summed, as they are everywhere.
    """
    design, Z = fit.states.design, fit.targets
    residuals, deviations = np.zeros_like(Z), np.zeros_like(Z)
    metric = np.zeros((design.n_folds, Z.shape[1], Z.shape[1]))
    for k in folds:
        rows, metric[k] = design.folds == k, whitener(Z, design, (k,))
        residuals[rows] = (Z[rows] - fit.predicted[rows]) @ metric[k]
        deviations[rows] = (Z[rows] - fit.baseline[rows]) @ metric[k]
    weights = design.weights[:, None]
    back = metric.transpose(0, 2, 1)[design.folds]
    by_fit, by_mean = (
        -2.0 * weights * np.einsum("ns,nst->nt", part, back) for part in (residuals, deviations)
    )
    return SquaredErrors(
        design,
        np.square(residuals),
        np.square(deviations),
        training_influence(fit, by_fit),
        baseline_influence(fit, by_mean),
    )


def log_minus_plain(log: SquaredErrors, plain: SquaredErrors, level: float) -> Estimate:
    """R² at the logarithm minus R² at the posterior, each with its own spread, rows paired."""
    return _combined([(log, 1.0), (plain, -1.0)], level)


def difference_of_forms(
    model: tuple[SquaredErrors, SquaredErrors],
    rival: tuple[SquaredErrors, SquaredErrors],
    level: float,
) -> Estimate:
    """Logarithm minus posterior of the model, less the same of a rival, on the same rows."""
    signs = (1.0, -1.0, -1.0, 1.0)
    return _combined(list(zip((*model, *rival), signs, strict=True)), level)


def _combined(parts: Sequence[tuple[SquaredErrors, float]], level: float) -> Estimate:
    """Weighted sum of R², with what each cluster does to it as test and as training rows."""
    design = parts[0][0].design
    value = 0.0
    test, training = np.zeros(design.n_clusters), np.zeros(design.n_clusters)
    for errors, sign in parts:
        ratio, of_test, of_training = _ratio(errors)
        value += sign * (1.0 - ratio)
        test -= sign * of_test
        training -= sign * of_training
    return paired_difference(value, test, training, design, level)


def _ratio(errors: SquaredErrors) -> tuple[float, FloatArray, FloatArray]:
    """SSE/SST with the influences (n_clusters,) of clusters as test and as training rows."""
    sse, sst, sse_training, sst_training = (
        errors.design.cluster_sums(part.sum(axis=1))
        for part in (errors.sse, errors.sst, errors.sse_training, errors.sst_training)
    )
    ratio = float(sse.sum() / sst.sum())
    return (
        ratio,
        (sse - ratio * sst) / sst.sum(),
        (sse_training - ratio * sst_training) / sst.sum(),
    )


def _independent(directions: FloatArray) -> FloatArray:
    """Principal components of standardised directions, without those that others determine."""
    scaled = (directions - directions.mean(axis=0)) / directions.std(axis=0)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    return np.asarray(scaled @ vectors[:, values > LEAST_SHARE * values[-1]])
