"""Is the map linear and invertible: one claim, shown or not shown, never refuted.

Held out, the smallest squared canonical correlation and backward R²(Z|F) must both lie above a
margin. Each is tested against its margin one-sided; the claim is shown where both tests reject.
That is an intersection–union test: its null is a union, it holds its size without a correction, and
its p-value is the larger of the two (Berger 1982, https://doi.org/10.1080/00401706.1982.10487790).
A claim that is not shown may be false, or true and the sample too small.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from concept_ppl.errors import InputError

from .canonical import CanonicalScores, canonical_scores, correlate
from .controls import ControlComparison, beside_controls
from .designs import Design, check_contrasts, check_level
from .figures import forest_plot
from .held_out import backward_share
from .intervals import (
    correlation_influence,
    signed_square,
    squared_correlation,
    standard_error,
)
from .latex import latex_table
from .results import Estimate, Row, in_words, result_frame
from .ridge import DecomposedStates, States, as_decomposed


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The claim that the map is linear and invertible up to a margin.

    Attributes
    ----------
    smallest, backward
        Smallest squared canonical correlation and backward R², held out. The interval runs from
        the one-sided lower bound up to the largest value there is, 1; the p-value is one-sided, of
        the null that the quantity is at most the margin.
    margin
        What both must exceed.
    p_value
        The larger of the two: of the null that one of them, at least, is at most the margin.
    target, layer
        Labels that the caller gave.
    controls
        The same states beside their controls, where controls were given.
    """

    smallest: Estimate
    backward: Estimate
    margin: float
    p_value: float
    target: str
    layer: str
    controls: ControlComparison | None = None

    @property
    def shown(self) -> bool:
        """Whether both lower bounds lie above the margin."""
        return self.p_value < 1.0 - self.smallest.ci_level

    @property
    def verdict(self) -> str:
        """``shown`` or ``not shown``."""
        return "shown" if self.shown else "not shown"

    def tidy(self) -> pd.DataFrame:
        """One row a quantity and one the claim, whose estimate is the smaller lower bound."""
        return result_frame(self._rows())

    def summary(self) -> str:
        """Give the verdict, and what it rests on."""
        level = f"{100 * self.smallest.ci_level:g}%"
        parts = (("smallest ρ²", self.smallest), ("R²(Z|F)", self.backward))
        return "\n".join(
            [
                f"Linear and invertible in the {self.target}, margin {self.margin:g}: "
                f"{self.verdict} ({in_words(self.p_value)})",
                *(
                    f"  {name:<12} {part.estimate:.3f}, one-sided {level} lower bound "
                    f"{part.ci_low:.3f}, {in_words(part.p_value)}"
                    for name, part in parts
                ),
                *([] if self.controls is None else [self.controls.summary()]),
            ]
        )

    def to_latex(self, label: str = "") -> str:
        """Write the tidy table for a paper, as `latex_table` does."""
        caption = f"Linear and invertible in the {self.target}, margin {self.margin:g}"
        return latex_table(self.tidy(), caption, label)

    def plot(self) -> Figure:
        """Forest plot of both quantities from their lower bounds on, with the margin."""
        entries = [("smallest ρ²", self.smallest), ("R²(Z|F)", self.backward)]
        figure = forest_plot(entries, "held out, one-sided")
        figure.axes[0].axvline(self.margin, color="#aa3377", lw=1.2, ls="--")
        return figure

    def _rows(self) -> Iterator[Row]:
        name = "equivalence"
        yield Row(name, "rho2_smallest", self.target, self.smallest, self.layer)
        yield Row(name, "r2_backward", self.target, self.backward, self.layer)
        weaker = min(self.smallest, self.backward, key=lambda part: part.ci_low)
        claim = replace(weaker, p_value=self.p_value)
        yield Row(name, "linear_and_invertible", self.target, claim, self.layer)
        yield from () if self.controls is None else self.controls.rows()


def equivalence(
    F: States,
    Z: npt.ArrayLike,
    *,
    margin: float = 0.95,
    controls: Mapping[str, States] | None = None,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Equivalence:
    """Test the claim that states are an invertible affine map of the contrasts, up to a margin.

    The smallest ρ² is bounded fold by fold: see `median_fold_bound`. All folds together would show
    the claim too often at the margin: with a smallest ρ² of exactly .95 in up to .12 of samples of
    100 rows, and, with five directions from .95 to .96, in .12 to .26 of samples of 400 and 1600
    rows, because the direction that is fitted is then not quite the weakest one. Measured so, at a
    nominal .05: .00 to .01 with 100 rows. It asks for much: with all ρ² = .99, 20 clusters show
    the claim in 27% of samples, 100 heavy-tailed rows in 95%. Estimating maps costs fit, so that
    wide states and few rows make the test stricter.

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    Z
        (n, q) contrasts with q ≤ d.
    margin
        In (0, 1); name it before the data are seen.
    controls
        Arrays (n, d_control) or decomposed ones that the states must beat, as `compare_controls`
        takes them; the comparison stands beside the estimates.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    names
        Of the q contrasts, for messages only.
    target, layer
        Labels for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, drawn from the seed.
    level
        Of the one-sided bounds; 1 − level is the size of the test.

    Raises
    ------
    InputError
        As `canonical_correlations`, or if the margin is outside (0, 1).
    """
    check_level(level)
    if not 0.0 < margin < 1.0:
        raise InputError(f"margin is {margin}; a share of explained variance lies in (0, 1).")
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    contrasts, _ = check_contrasts(Z, states.design.n, names)
    smallest = correlate(states, contrasts, target, layer, level).smallest
    backward = backward_share(states, contrasts, level)
    scores = canonical_scores(states, contrasts)
    weakest = median_fold_bound(smallest, scores, states, margin)
    parts = (weakest, lower_bound(backward, margin, _log_explained, _explained))
    p_value = max(part.p_value for part in parts)
    beside = None
    if controls is not None:
        beside = beside_controls(states, contrasts, controls, target, layer, seed, level)
    return Equivalence(*parts, margin, p_value, target, layer, beside)


def median_fold_bound(
    smallest: Estimate, scores: CanonicalScores, states: DecomposedStates, margin: float
) -> Estimate:
    """Bound the smallest ρ² by the median of the folds' bounds at half the size, p doubled.

    The direction that training folds rank last varies with them, which no interval given the maps
    can know. Within a fold the direction is fixed, and twice the median
    p-value is valid however folds depend on each other (Meinshausen, Meier and Bühlmann 2009,
    https://doi.org/10.1198/jasa.2009.tm08647).

    Parameters
    ----------
    smallest
        Estimate from all folds, whose point and level are kept.
    scores, states, margin
        Held-out canonical variates, the states' design, and the margin of the null.
    """
    design = states.design
    level = 0.5 + smallest.ci_level / 2.0
    bounds = []
    for k in range(design.n_folds):
        rows = design.folds == k
        labels, codes = np.unique(design.clusters[rows], return_inverse=True)
        if len(labels) < 2:
            bounds.append(replace(smallest, ci_low=-1.0, p_value=1.0))
            continue
        fold = Design(design.weights[rows], codes, design.folds[rows], len(labels), 1)
        a, b = scores.a[rows, -1:], scores.b[rows, -1:]
        rho, influence, _ = correlation_influence(a, b, fold)
        error = standard_error(influence[0])
        value = squared_correlation(float(rho[0]), error, math.nan, fold, level)
        bounds.append(lower_bound(value, margin, _fisher_z, _squared_tanh))
    middle = sorted(bounds, key=lambda bound: bound.ci_low, reverse=True)[len(bounds) // 2]
    p_value = sorted(bound.p_value for bound in bounds)[len(bounds) // 2]
    return replace(smallest, ci_low=middle.ci_low, ci_high=1.0, p_value=min(1.0, 2.0 * p_value))


def lower_bound(
    value: Estimate,
    margin: float,
    scale: Callable[[float], float],
    inverse: Callable[[float], float],
) -> Estimate:
    """Turn a two-sided Student interval into a one-sided bound and a test of value ≤ margin.

    Parameters
    ----------
    value
        Estimate whose interval is symmetric on ``scale``.
    margin
        Of the null.
    scale, inverse
        Increasing map to that scale, and back.
    """
    df = value.n_clusters - 1.0 if value.df is None else value.df
    theta = scale(value.estimate)
    if value.ci_low == value.ci_high or math.isinf(theta):  # a perfect fit holds no sampling error
        return replace(value, ci_high=1.0, p_value=0.0 if value.estimate > margin else 1.0)
    # An end may have been rounded to the edge of the scale, where it says nothing of the error.
    reaches = [abs(scale(end) - theta) for end in (value.ci_low, value.ci_high)]
    reach = max((r for r in reaches if math.isfinite(r)), default=math.inf)
    if math.isinf(reach):
        return replace(value, ci_low=inverse(-math.inf), ci_high=1.0, p_value=1.0)
    error = reach / float(stats.t.ppf(0.5 + value.ci_level / 2.0, df))
    bound = inverse(theta - float(stats.t.ppf(value.ci_level, df)) * error)
    p_value = float(stats.t.sf((theta - scale(margin)) / error, df))
    return replace(value, ci_low=bound, ci_high=1.0, p_value=p_value)


def _fisher_z(squared: float) -> float:
    if abs(squared) >= 1.0:
        return math.copysign(math.inf, squared)
    return math.atanh(math.copysign(math.sqrt(abs(squared)), squared))


def _squared_tanh(z: float) -> float:
    return signed_square(math.tanh(z))


def _log_explained(share: float) -> float:
    return -math.log1p(-share) if share < 1.0 else math.inf


def _explained(log_explained: float) -> float:
    return -math.expm1(-log_explained) if log_explained > -math.inf else -math.inf
