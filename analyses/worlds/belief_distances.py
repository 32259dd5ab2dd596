"""How far are implied weights from the exact posterior: distance, calibration, first choice?

The exact posterior is that of the world that made the contexts. Weights that a pretrained model
implies can be far from it and yet be a posterior: that of the world that the model was trained on.
Where the truth given the context is drawn from the exact posterior p, whatever would be counted of
it is known as an expectation, and no label is drawn: a weight is calibrated where p is, on average,
what the weight says.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.designs.arrays import (
    NORMALISED_TOLERANCE,
    FloatArray,
    check_level,
    on_cpu,
)
from concept_ppl.analyses.designs.design import Design, make_design
from concept_ppl.analyses.designs.shares import cluster_mean, cluster_proportion, difference
from concept_ppl.analyses.regression.calibration import equal_mass_bins
from concept_ppl.analyses.results.figures import BLUE, Panel
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .exact_fit import FEWEST_FOLDS, exact
from .recalibration import recalibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of a reliability curve, over contexts and values alike.

    Attributes
    ----------
    mass
        Share of the pairs of context and value, by the weight of the context.
    weight
        Mean implied weight.
    posterior
        Mean exact posterior, with its cluster interval.
    """

    mass: float
    weight: float
    posterior: Estimate


@dataclass(frozen=True, slots=True)
class Beliefs(Result):
    """Implied weights w beside the exact posterior p.

    Attributes
    ----------
    kl, reverse_kl
        Mean KL(p ‖ w) and KL(w ‖ p) in nats; infinite, without an interval, where a context's is.
    finite_kl
        Mean KL(p ‖ w) in nats of the contexts in which it is finite: a selection where not all are.
    jensen_shannon
        Mean Jensen–Shannon divergence in nats, at most log 2: finite whatever is zero.
    infinite
        Share of contexts with infinite KL(p ‖ w): a weight is zero and the posterior is not.
    prior_kl
        Mean KL(p ‖ mean of p) in nats: what weights would miss that are the same in each context.
    calibration_error
        Mean over bins of |mean posterior − mean weight|; 0 for the exact posterior.
    bins
        The reliability curve, smallest weights first.
    slope
        b in log-odds of the truth = a_c + b · log-odds of w: 1 is calibrated, below 1 the weights
        are surer than they should be. p-value of b = 1. None where the log-odds do not vary, or no
        finite slope fits best.
    agreement
        Share of contexts in which both have the same most probable value.
    layer
        Label that the caller gave.
    """

    kl: Estimate
    reverse_kl: Estimate
    finite_kl: Estimate
    jensen_shannon: Estimate
    infinite: Estimate
    prior_kl: Estimate
    calibration_error: float
    bins: tuple[ReliabilityBin, ...]
    slope: Estimate | None
    agreement: Estimate
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Implied weights beside the exact posterior"

    def rows(self) -> Iterator[Row]:
        """Distances, agreement, slope and calibration error, then the reliability curve."""

        def row(quantity: str, value: Estimate, term: str = "weights") -> Row:
            return Row("beliefs", quantity, term, value, self.layer)

        for quantity in ("kl", "finite_kl", "infinite", "prior_kl", "reverse_kl"):
            yield row(quantity, getattr(self, quantity))
        yield row("jensen_shannon", self.jensen_shannon)
        yield row("agreement", self.agreement)
        if self.slope is not None:
            yield row("calibration_slope", self.slope)
        yield row("calibration_error", exact(self.calibration_error, self.agreement.n))
        for i, each in enumerate(self.bins, 1):
            yield row("reliability", each.posterior, f"bin {i}: {each.weight:.3f}")

    def lines(self) -> Iterator[str]:
        """State distances, agreement and calibration."""
        yield f"  KL(p ‖ w)           {self.kl} nats; of weights without context {self.prior_kl}"
        if self.infinite.estimate > 0:
            yield f"    infinite in a share of {self.infinite} of the contexts: a weight is 0 there"
            yield f"    of all others       {self.finite_kl} nats"
        yield f"  KL(w ‖ p)           {self.reverse_kl} nats"
        yield f"  Jensen–Shannon      {self.jensen_shannon} nats"
        yield f"  same first choice   {self.agreement}"
        if self.slope is not None:
            yield f"  calibration slope   {self.slope} (null: 1), {self.slope.n:,} contexts"
        yield f"  calibration error   {self.calibration_error:.3f}"

    def panel(self) -> Panel:
        """Reliability curve beside the diagonal, with intervals."""
        return Panel(4.2, 4.0, self._draw)

    def _draw(self, axes: "Axes") -> None:
        axes.plot([0.0, 1.0], [0.0, 1.0], color="0.7", lw=0.8, zorder=0)
        for each in self.bins:
            ends = [each.posterior.ci_low, each.posterior.ci_high]
            axes.plot([each.weight, each.weight], ends, color=BLUE, lw=1)
        curve = [(each.weight, each.posterior.estimate) for each in self.bins]
        axes.plot(*zip(*curve, strict=True), "o-", color=BLUE, ms=4)
        axes.set_xlabel("implied weight")
        axes.set_ylabel("exact posterior")


def beliefs(
    log_w: npt.ArrayLike,
    log_p: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    *,
    n_bins: int = 10,
    layer: str = "",
    level: float = 0.95,
) -> Beliefs:
    """Compare weights that a predictor implies with the exact posterior of the same values.

    Parameters
    ----------
    log_w
        (n, C) log of the weights, −∞ for zero: `ImpliedPosterior.log_weights`.
    log_p
        (n, C) log of the exact posterior, of the same values in the same order.
    weights, clusters
        (n,) p(x) of the contexts, equal by default; labels of independent units, by default each
        context its own.
    n_bins
        Most points of the reliability curve, of equal mass; ties stay together.
    layer
        Label for the tidy table.
    level
        Confidence level.

    Raises
    ------
    InputError
        If shapes differ, or a row is no distribution.
    """
    check_level(level)
    if n_bins < 1:
        raise InputError(f"n_bins is {n_bins}; a reliability curve has at least one point.")
    log_W, log_P = _log_distributions(log_w, "log_w"), _log_distributions(log_p, "log_p")
    if log_W.shape != log_P.shape:
        raise InputError(
            f"log_w has shape {log_W.shape}, log_p {log_P.shape}; give both for the same contexts "
            "and values."
        )
    design = make_design(len(log_W), weights=weights, clusters=clusters, n_folds=FEWEST_FOLDS)
    W, P = np.exp(log_W), np.exp(log_P)
    forward, backward = _kl(P, log_P, log_W), _kl(W, log_W, log_P)
    with np.errstate(divide="ignore"):
        log_middle = np.log((W + P) / 2.0)
        log_mean = np.log(np.average(P, axis=0, weights=design.weights))
    middle = (_kl(P, log_P, log_middle) + _kl(W, log_W, log_middle)) / 2.0
    bins = _reliability(W, P, design, n_bins, level)
    return Beliefs(
        kl=_mean_or_infinite(forward, design, level),
        reverse_kl=_mean_or_infinite(backward, design, level),
        finite_kl=_mean_of(forward, np.isfinite(forward), design, level),
        jensen_shannon=cluster_mean(middle, design, level),
        infinite=cluster_proportion(np.isinf(forward), design, level),
        prior_kl=cluster_mean(_kl(P, log_P, np.tile(log_mean, (len(P), 1))), design, level),
        calibration_error=sum(e.mass * abs(e.posterior.estimate - e.weight) for e in bins),
        bins=bins,
        slope=recalibration(log_W, P, design, level),
        agreement=cluster_proportion(W.argmax(axis=1) == P.argmax(axis=1), design, level),
        layer=layer,
    )


def _log_distributions(values: npt.ArrayLike, name: str) -> FloatArray:
    table = np.asarray(on_cpu(values), np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not len(table):
        raise InputError(f"{name} has shape {table.shape}; it must be (contexts, values), C ≥ 2.")
    sums = np.exp(table).sum(axis=1)
    bad = np.flatnonzero(~(np.abs(sums - 1.0) <= NORMALISED_TOLERANCE))
    if bad.size:
        raise InputError(
            f"The probabilities of {name} sum to {sums[bad[0]]:.6g} at row {bad[0]}, not 1."
        )
    return np.asarray(table - special.logsumexp(table, axis=1, keepdims=True))


def _kl(p: FloatArray, log_p: FloatArray, log_q: FloatArray) -> FloatArray:
    """KL(p ‖ q) of each row, (n,), with 0 log 0 = 0."""
    with np.errstate(invalid="ignore"):
        terms = np.where(p > 0, p * (log_p - log_q), 0.0)
    return np.asarray(np.maximum(terms.sum(axis=1), 0.0))


def _mean_or_infinite(values: FloatArray, design: Design, level: float) -> Estimate:
    if np.isfinite(values).all():
        return cluster_mean(values, design, level)
    nan = math.nan
    return Estimate(math.inf, nan, nan, nan, level, nan, design.n, design.n_clusters)


def _reliability(
    W: FloatArray, P: FloatArray, design: Design, n_bins: int, level: float
) -> tuple[ReliabilityBin, ...]:
    """Mean weight and posterior of bins of equal mass, over all pairs of context and value."""
    shares = np.repeat(design.weights, W.shape[1])
    codes = equal_mass_bins(W.ravel(), shares / shares.sum(), n_bins)
    pairs = Design(
        shares / shares.mean(),
        np.repeat(design.clusters, W.shape[1]),
        np.repeat(design.folds, W.shape[1]),
        design.n_clusters,
        design.n_folds,
    )
    return tuple(
        _bin(W.ravel(), P.ravel(), codes == k, pairs, level) for k in range(int(codes.max()) + 1)
    )


def _bin(
    w: FloatArray, p: FloatArray, inside: npt.NDArray[np.bool_], pairs: Design, level: float
) -> ReliabilityBin:
    mass = pairs.weights * inside
    weight = float(mass @ w / mass.sum())
    return ReliabilityBin(float(mass.sum() / pairs.n), weight, _mean_of(p, inside, pairs, level))


def _mean_of(
    values: FloatArray, inside: npt.NDArray[np.bool_], design: Design, level: float
) -> Estimate:
    """Mean of the rows ``inside`` alone; no interval where they are of fewer than two clusters."""
    n, n_clusters = int(inside.sum()), len(np.unique(design.clusters[inside]))
    count = inside.astype(np.float64)
    kept = np.where(inside, values, 0.0)
    if n_clusters < 2:
        nan, mass = math.nan, design.weights @ count
        value = float(design.weights @ kept / mass) if n else nan
        return Estimate(value, nan, nan, nan, level, nan, n, n_clusters)
    found = difference(kept, count, design, level)
    return replace(found, p_value=math.nan, n=n, n_clusters=n_clusters)
