"""Is it the log-posterior or the posterior that the states are affine in? The power α answers.

States are regressed on contrasts of (p^α − 1)/α along a grid of α (see `power_path`): 0 is the
log-posterior, 1 the posterior. The grid runs past both, because an estimate whose truth lies at
the edge of its range has no valid bootstrap interval (Andrews 2000,
https://doi.org/10.1111/1468-0262.00114).

*Where* the best α lies is asked of held-out directions: contrasts at both ends of the path are
decoded by maps that never saw a row's fold. Any linear reduction of F that is fixed given the
training folds is affine in t_α(p) at the same α as F is, so that the error of the maps costs
precision but does not move α, and the bootstrap need not repeat them: clusters are reweighted and
the canonical fit to these few directions is made anew. *How well* it fits is asked of the full
cross-fitted ridge map, with α chosen inside the training folds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray, check_contrasts, check_level
from concept_ppl.analyses.designs.cross_fits import CrossFit, cross_fit, whitener
from concept_ppl.analyses.designs.decomposition import States, as_decomposed
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.held_out import SquaredErrors
from concept_ppl.analyses.designs.intervals import standard_error
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.analyses.designs.training_influence import baseline_influence, training_influence
from concept_ppl.analyses.results.figures import BLUE, INK, Panel
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .power_path import best_powers, contrasts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POWERS: tuple[float, ...] = tuple(np.arange(-0.25, 1.51, 0.125).tolist())
ENDS = (0.0, 1.0)
NORMALISED = 1e-6
LEAST_SHARE = 1e-6
LARGEST = 1e8
"""Largest p^α, α < 0, whose contrasts are still far from collinear to rounding."""


@dataclass(frozen=True, slots=True)
class PosteriorForm(Result):
    """Which function of the posterior the states are affine in.

    Attributes
    ----------
    alpha
        Power at which held-out directions fit best, with its percentile bootstrap interval; no
        test. An end of the interval at the edge of the grid means "or beyond".
    profile
        Each power of the grid and the held-out fit there: R² of the whitened contrasts given F,
        which is comparable along the path; intervals hold for one power alone.
    chosen
        The same with α chosen in the training folds; p-value one-sided, of R² ≤ 0.
    difference
        Fit of the log-posterior minus that of the posterior; p-value two-sided, of no difference.
    target, layer
        Labels that the caller gave.
    """

    alpha: Estimate
    profile: tuple[tuple[float, Estimate], ...]
    chosen: Estimate
    difference: Estimate
    target: str
    layer: str

    @property
    def verdict(self) -> str:
        """One of: log-posterior, posterior, between, beyond, flat."""
        low, high = self.alpha.ci_low, self.alpha.ci_high
        if not self.chosen.p_value <= 1.0 - self.alpha.ci_level:
            return "flat: the data cannot tell, for the states tell nothing about the posterior"
        log, plain = low <= 0.0 <= high, low <= 1.0 <= high
        if log and plain:
            return "flat: the data cannot tell"
        if log or plain:
            return "log-posterior" if log else "posterior"
        inside = 0.0 < self.alpha.estimate < 1.0
        return f"{'between' if inside else 'beyond'}: α̂ = {self.alpha.estimate:.2f}"

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Power of the posterior of {self.target}"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"Log-posterior or posterior of {self.target}? {self.verdict}"

    def rows(self) -> Iterator[Row]:
        """One row for α, the fit at the chosen α, the difference, and each power of the grid."""
        name = "posterior_form"
        yield Row(name, "alpha", self.target, self.alpha, self.layer)
        yield Row(name, "r2_chosen", self.target, self.chosen, self.layer)
        yield Row(name, "r2_log_minus_plain", self.target, self.difference, self.layer)
        for power, value in self.profile:
            yield Row(name, "r2", f"{self.target}:alpha_{power:g}", value, self.layer)

    def lines(self) -> list[str]:
        """Return the verdict, and what it rests on, a line each."""
        return [
            f"  α̂                             {self.alpha}",
            f"  fit, α chosen in training     {self.chosen}",
            f"  log-posterior less posterior  {self.difference}",
            *(f"  fit at α = {power:<6g}            {value}" for power, value in self.profile),
        ]

    def panel(self) -> Panel:
        """Held-out fit along the path, with the interval of α."""
        return Panel(6.4, 3.6, self._draw)

    def _draw(self, axes: "Axes") -> None:
        powers = [power for power, _ in self.profile]
        fits = [value for _, value in self.profile]
        axes.axvspan(self.alpha.ci_low, self.alpha.ci_high, color="0.9", zorder=0)
        axes.vlines(powers, [fit.ci_low for fit in fits], [fit.ci_high for fit in fits], color=BLUE)
        axes.plot(powers, [fit.estimate for fit in fits], "o-", color=BLUE, ms=4)
        axes.axvline(self.alpha.estimate, color=INK, lw=1.0)
        axes.set_xticks([*ENDS, 0.5], ["log p", "p", "½"])
        axes.set_xlabel("power α")
        axes.set_ylabel("held-out R², whitened contrasts")


def posterior_form(
    F: States,
    log_p: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    powers: Sequence[float] = POWERS,
    n_replicates: int = 200,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    target: str = "posterior",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> PosteriorForm:
    """Estimate the power of the posterior that the states are affine in.

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    log_p
        (n, K) log-probabilities in nats of all values of a concept, or a list of one such array a
        concept. −inf is refused: the log-posterior has no finite value there, and no affine map
        could reach it.
    powers
        Grid of α, ascending, at least four, 0 and 1 among them.
    n_replicates
        Bootstrap replicates; as many as the level needs.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    target, layer
        Labels for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, and replicates, drawn from the seed.
    level
        Confidence level.

    Raises
    ------
    InputError
        If probabilities do not sum to one, are zero, or have collinear contrasts at some power; if
        the grid or the number of replicates does not do; and as `goodness_of_fit`.
    """
    check_level(level)
    grid = _check_powers(powers)
    if n_replicates < 2.0 / (1.0 - level):
        raise InputError(f"n_replicates is {n_replicates}; a level of {level} needs more.")
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    concepts = _check_concepts(log_p, design.n)
    grid, path = _contrast_path(concepts, grid, design)
    fits = [cross_fit(states, Z, whiten=True) for Z in path]
    everywhere = range(design.n_folds)
    errors = [_whitened(fit, everywhere) for fit in fits]
    log, plain = (int(np.flatnonzero(grid == end)[0]) for end in ENDS)
    directions = _independent(np.hstack([fits[log].predicted, fits[plain].predicted]))
    return PosteriorForm(
        _alpha(directions, concepts, grid, design, n_replicates, seed, level),
        tuple(
            (float(power), explained_share(part, level))
            for power, part in zip(grid, errors, strict=True)
        ),
        explained_share(_chosen(fits), level),
        _difference(errors[log], errors[plain], level),
        target,
        layer,
    )


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


def _whitened(fit: CrossFit, folds: Sequence[int]) -> SquaredErrors:
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


def _chosen(fits: Sequence[CrossFit]) -> SquaredErrors:
    """Errors when each fold takes the power with the least whitened loss inside its training."""
    best = np.array([fit.inner_loss for fit in fits]).argmin(axis=0)
    parts = [
        _whitened(fits[a], np.flatnonzero(best == a).tolist()) for a in dict.fromkeys(best.tolist())
    ]
    return SquaredErrors(
        parts[0].design,
        *(
            np.sum([getattr(part, name) for part in parts], axis=0)
            for name in ("sse", "sst", "sse_training", "sst_training")
        ),
    )


def _difference(fit: SquaredErrors, rival: SquaredErrors, level: float) -> Estimate:
    """R² of a fit minus that of its rival, each with its own spread, rows paired by cluster."""
    (share, test, training), (other, other_test, other_training) = (
        _ratio(part) for part in (fit, rival)
    )
    design = fit.design
    value = other - share
    error = standard_error(other_test - test, other_training - training)
    df = design.n_clusters - 1
    reach = float(special.stdtrit(df, 0.5 + level / 2.0)) * error
    studentised = value / error if error > 0 else math.copysign(math.inf, value)
    return Estimate(
        value,
        error,
        value - reach,
        value + reach,
        level,
        2.0 * float(special.stdtr(df, -abs(studentised))),
        design.n,
        design.n_clusters,
    )


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


def _check_powers(powers: Sequence[float]) -> FloatArray:
    grid = np.asarray(powers, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 4 or not np.all(np.diff(grid) > 0):
        raise InputError(f"powers are {tuple(powers)}; give at least four, ascending.")
    missing = [end for end in ENDS if end not in grid]
    if missing:
        raise InputError(f"powers lack {missing[0]:g}; both ends of the question must be there.")
    return grid


def _check_concepts(
    log_p: npt.ArrayLike | Sequence[npt.ArrayLike], n: int
) -> tuple[FloatArray, ...]:
    """One array (n, K) a concept, normalised and without zeros."""
    tables = log_p if isinstance(log_p, list | tuple) else [log_p]
    concepts = tuple(np.asarray(table, dtype=np.float64) for table in tables)
    for i, table in enumerate(concepts):
        where = f"log_p of concept {i}"
        if table.ndim != 2 or table.shape[1] < 2 or len(table) != n:
            raise InputError(
                f"{where} has shape {table.shape}; it must be ({n}, values), two values or more."
            )
        zero = np.argwhere(np.isneginf(table))
        if zero.size:
            rows = np.unique(zero[:, 0])
            raise InputError(
                f"{where} is −inf at row {zero[0, 0]}, value {zero[0, 1]} ({len(rows)} rows in "
                "all); a log-posterior has no value there. Leave these rows out of F and log_p."
            )
        off = np.flatnonzero(~(np.abs(special.logsumexp(table, axis=1)) < NORMALISED))
        if off.size:
            raise InputError(
                f"{where} does not sum to one at row {off[0]}; give log-probabilities of all "
                "values, in nats."
            )
    return concepts


def _contrast_path(
    concepts: Sequence[FloatArray], grid: FloatArray, design: Design
) -> tuple[FloatArray, list[FloatArray]]:
    """Powers and contrasts (n, q) along the path.

    Below 0, p^α of a sharp posterior is a few huge numbers and its contrasts collinear to rounding;
    such powers, of no interest in themselves, are left out.
    """
    least = min(float(table.min()) for table in concepts)
    grid = grid[grid * least <= math.log(LARGEST)]
    path = []
    for alpha in grid:
        try:
            Z, _ = check_contrasts(contrasts(concepts, float(alpha)), design.n)
        except InputError as error:
            raise InputError(f"At power {alpha:g} of the posterior: {error}") from error
        path.append(Z)
    return grid, path
