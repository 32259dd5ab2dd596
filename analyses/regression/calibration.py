"""Are probabilities right as often as they say: reliability in bins, and what noise alone shows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.intervals import share_of_cases
from concept_ppl.analyses.results.figures import BLUE, Panel
from concept_ppl.analyses.results.hypotheses import HypothesisTest, bootstrap_test, invalid
from concept_ppl.analyses.results.rows import Estimate, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_DRAWS = 999


@dataclass(frozen=True, slots=True)
class Bin:
    """One point of a reliability curve.

    Attributes
    ----------
    mass
        Share of the weight.
    confidence
        Mean probability of the most probable value.
    accuracy
        How often it was right, with the interval of `share_of_cases`.
    """

    mass: float
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability of the most probable value.

    Attributes
    ----------
    error
        Expected calibration error: mean over bins of |accuracy − confidence|, which is above zero
        even for perfect probabilities.
    floor
        What perfect probabilities would show: mean error with values drawn from them.
    excess
        Error less floor: debiased, and so possibly below zero.
    test
        Of calibration in these bins, by the same draws.
    bins
        Of equal mass, least confident first.
    n, n_clusters
        Rows and independent units.
    """

    error: float
    floor: float
    excess: float
    test: HypothesisTest
    bins: tuple[Bin, ...]
    n: int
    n_clusters: int

    def __str__(self) -> str:
        """Print the error beside its floor, and the test, on one line."""
        return (
            f"calibration error {self.error:.3f}, floor {self.floor:.3f}, "
            f"excess {self.excess:.3f}; {self.test}"
        )

    def rows(self, analysis: str, term: str, layer: str) -> Iterator[Row]:
        """Error, floor and excess as rows of a tidy table, without intervals."""
        missing = math.nan
        for quantity in ("error", "floor", "excess"):
            p_value = self.test.p_value if quantity == "error" else missing
            number = getattr(self, quantity)
            value = Estimate(
                number, missing, missing, missing, missing, p_value, self.n, self.n_clusters
            )
            yield Row(analysis, f"calibration_{quantity}", term, value, layer)

    def panel(self) -> Panel:
        """Reliability curve beside the diagonal."""
        return Panel(4.2, 4.0, self._draw)

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the reliability curve into ``ax`` or a new figure; return the figure."""
        return self.panel().show(ax)

    def _draw(self, axes: "Axes") -> None:
        axes.plot([0.0, 1.0], [0.0, 1.0], color="0.7", lw=0.8, zorder=0)
        curve = [(each.confidence, each.accuracy.estimate) for each in self.bins]
        axes.plot(*zip(*curve, strict=True), "o-", color=BLUE, ms=4)
        for each in self.bins:
            ends = (each.accuracy.ci_low, each.accuracy.ci_high)
            axes.plot([each.confidence] * 2, ends, color=BLUE, lw=0.8)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")


def calibration(
    log_p: FloatArray,
    values: IntArray,
    design: Design,
    *,
    n_bins: int,
    seed: int,
    level: float = 0.95,
) -> Calibration:
    """Bin rows by the probability of their most probable value, equal mass in each bin.

    The floor and the p-value come from values drawn from the probabilities themselves in the same
    bins (consistency resampling: Bröcker and Smith 2007, https://doi.org/10.1175/WAF993.1). Rows of
    one cluster are not independent draws, so that the test is invalid where clusters repeat, and
    the floor is then too low. On the bias of the error: Kumar et al. 2019,
    https://arxiv.org/abs/1909.10155.

    Parameters
    ----------
    log_p
        (n, K) log-probabilities of the values, by probes that never saw the row.
    values
        (n,) codes 0 … K − 1.
    design
        Weights and clusters.
    n_bins
        Most bins; ties of confidence stay together.
    seed
        Of the draws.
    level
        Of the intervals of the bins.
    """
    confidence = np.exp(log_p.max(axis=1))
    hits = (log_p.argmax(axis=1) == values).astype(np.float64)
    mass = design.weights / design.weights.sum()
    codes = equal_mass_bins(confidence, mass, n_bins)
    shares = np.bincount(codes, weights=mass)
    expected = np.bincount(codes, weights=mass * confidence)
    right = np.bincount(codes, weights=mass * hits)
    error = float(np.abs(right - expected).sum())
    rng = np.random.default_rng(seed)
    drawn = np.empty(N_DRAWS)
    for i in range(N_DRAWS):
        perfect = rng.random(len(confidence)) < confidence
        drawn[i] = np.abs(np.bincount(codes, weights=mass * perfect) - expected).sum()
    null = "the most probable value is right as often as its probability says"
    if design.n_clusters < design.n:
        test = invalid(null, "rows of one cluster are not independent draws")
    else:
        test = bootstrap_test(null, error, float((1 + np.sum(drawn >= error)) / (1 + N_DRAWS)))
    floor = float(drawn.mean())
    bins = tuple(
        Bin(float(share), float(mean), _accuracy(hits, codes == k, design, level))
        for k, (share, mean) in enumerate(zip(shares, expected / shares, strict=True))
    )
    return Calibration(error, floor, error - floor, test, bins, design.n, design.n_clusters)


def _accuracy(
    hits: FloatArray, chosen: npt.NDArray[np.bool_], design: Design, level: float
) -> Estimate:
    """Share of hits among some rows; without limits where they are all of one cluster."""
    weights = design.weights[chosen]
    _, clusters = np.unique(design.clusters[chosen], return_inverse=True)
    n_clusters = int(clusters.max()) + 1
    if n_clusters < 2:
        value, missing = float(np.average(hits[chosen], weights=weights)), math.nan
        return Estimate(value, missing, missing, missing, level, missing, len(weights), 1)
    part = Design(
        weights, clusters.astype(np.int64), design.folds[chosen], n_clusters, design.n_folds
    )
    return share_of_cases(hits[chosen], part, level)


def equal_mass_bins(scores: FloatArray, mass: FloatArray, n_bins: int) -> IntArray:
    """Codes (n,) 0 … of bins of near-equal mass; equal scores fall in the same bin."""
    order = np.argsort(scores, kind="stable")
    before = np.cumsum(mass[order]) - mass[order]
    _, first, group = np.unique(scores[order], return_index=True, return_inverse=True)
    codes = np.empty(len(scores), dtype=np.int64)
    codes[order] = np.minimum((before[first] * n_bins).astype(np.int64), n_bins - 1)[group]
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)
