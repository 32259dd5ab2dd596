"""Does the claim come true as the predictor gap closes? Answered from intervals alone."""

import math
from dataclasses import dataclass

import pandas as pd

from concept_ppl.analyses import Estimate
from concept_ppl.analyses.worlds.exact_fit import exact

from .plan import CEILING, AdaptationStudy

CEILING_MARGIN = 0.02
"""R² that a model may stay below the ceiling and still count as having reached it."""
CLOSED = 0.5
"""Share of the gap of a predictor that knows nothing of the context, below which a gap closed."""


@dataclass(frozen=True)
class Looks:
    """Every number of the study, by who was looked at.

    Attributes
    ----------
    study
        What was done.
    frame
        Rows with ``kind, seed, step, quantity, estimate, …``.
    """

    study: AdaptationStudy
    frame: pd.DataFrame

    def of(self, quantity: str, kind: str, seed: int, step: int) -> Estimate:
        """Return one estimate; NaN where the look has no such number."""
        frame = self.frame
        row = frame[
            (frame["kind"] == kind)
            & (frame["seed"] == seed)
            & (frame["step"] == step)
            & (frame["quantity"] == quantity)
        ]
        return _estimate(row)

    def before(self, quantity: str, kind: str, seed: int) -> Estimate:
        """Return it before any step."""
        return self.of(quantity, kind, seed, 0)

    def after(self, quantity: str, kind: str, seed: int) -> Estimate:
        """Return it after the last step."""
        return self.of(quantity, kind, seed, self.study.recipe.steps)

    def ceiling(self, quantity: str) -> Estimate:
        """Return it of Bayes's own log-predictive ratios."""
        return self.of(quantity, CEILING, self.study.seed, 0)

    def loss(self, kind: str, seed: int, step: int) -> float:
        """Return the mean cross-entropy of the steps before a look, nats a token; NaN at first."""
        frame = self.frame
        row = frame[(frame["kind"] == kind) & (frame["seed"] == seed) & (frame["step"] == step)]
        return float(row["loss"].iloc[0])


def _estimate(row: pd.DataFrame) -> Estimate:
    if row.empty:
        return exact(math.nan, 0)
    one = row.iloc[0]
    return Estimate(
        estimate=float(one["estimate"]),
        std_error=float(one["std_error"]),
        ci_low=float(one["ci_low"]),
        ci_high=float(one["ci_high"]),
        ci_level=float(one["ci_level"]),
        p_value=float(one["p_value"]),
        n=int(one["n"]),
        n_clusters=int(one["n_clusters"]),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the intervals of one seed say.

    Attributes
    ----------
    closed
        Whether the predictor gap is smaller than before, and than half that of a predictor that
        knows nothing of the context: to leave the words that do not follow is not yet to read.
    risen
        Whether R² of the log-odds is higher after than before.
    reached
        Whether it has come up to that of the ceiling, to within `CEILING_MARGIN`.
    learned
        Whether it is above that of the best control.
    silent
        Whether it stays below, with tokens exchanged between texts, what the world's texts teach.
    """

    closed: bool
    risen: bool
    reached: bool
    learned: bool
    silent: bool

    @property
    def tone(self) -> str:
        """Whether the claim came true as the gap closed."""
        if not self.closed:
            return "undecided"
        if self.risen and self.learned and self.silent:
            return "supported" if self.reached else "undecided"
        return "not supported"


def outcome(looks: Looks, seed: int) -> Outcome:
    """Compare intervals: those of one seed, before and after, world and exchanged."""
    gap = [when("predictor_gap", "world", seed) for when in (looks.before, looks.after)]
    share = [when("r2_backward", "world", seed) for when in (looks.before, looks.after)]
    exchanged = looks.after("r2_backward", "exchanged", seed)
    open_gap = min(gap[0].ci_low, CLOSED * looks.ceiling("uninformed_gap").estimate)
    return Outcome(
        closed=gap[1].ci_high < open_gap,
        risen=share[1].ci_low > share[0].ci_high,
        reached=looks.after("r2_difference:ceiling", "world", seed).ci_low > -CEILING_MARGIN,
        learned=looks.after("r2_difference:best", "world", seed).ci_low > 0,
        silent=exchanged.ci_high < share[1].ci_low,
    )
