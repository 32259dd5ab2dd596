"""The bars that the laboratory sets itself, each measured, met or not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concept_ppl.analyses import Estimate
from concept_ppl.reports import Section, Table, interval, number

from .over_worlds import pooled

EXACT_GAP = 1e-9
LEAST_RHO2 = 0.98
LEAST_CEILING = 0.99
SMALL_KL = 1e-3
AGREEMENT_KL = 1e-4

ALPHA_MARGIN = 0.05
"""How far from 0 or 1 the whole interval of α̂ may lie for α to count as 0 or 1."""

LOG, NOT_LOG = "the log-posterior", "not the log-posterior"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in words, what was reached, and whether that meets it."""

    what: str
    bar: str
    reached: str
    met: bool


def bars_section(bars: Sequence[Bar]) -> Section:
    """Return the table of bars."""
    frame = pd.DataFrame(
        {
            "bar": [f"{bar.what}: {bar.bar}" for bar in bars],
            "reached": [bar.reached for bar in bars],
            "met": ["yes" if bar.met else "no" for bar in bars],
        }
    )
    missed = [bar for bar in bars if not bar.met]
    text = "What was to be shown was written down before any number was seen. " + (
        f"{len(bars) - len(missed)} of {len(bars)} are met." if missed else "All are met."
    )
    return Section("Bars", text, tables=[Table("Bar by bar", frame)])


def positive_control(cells: pd.DataFrame, level: float) -> list[Bar]:
    """Hold y = c to recovery of the log-posterior in every direction, nothing approximate."""
    smallest = pooled(cells, "trained.rho2_smallest", level)
    held_out = pooled(cells, "held_out.rho2_smallest", level)
    gap = cells["gap.squared"].max()
    size = f"{cells['world'].nunique()} worlds × {cells['seed'].nunique()} seeds"
    return [
        Bar(
            f"y = c, {size}: smallest ρ², all contexts",
            f"lower bound ≥ {LEAST_RHO2}",
            written(smallest),
            smallest.ci_low >= LEAST_RHO2,
        ),
        Bar(
            "the same, held out",
            f"lower bound ≥ {LEAST_RHO2}",
            written(held_out),
            held_out.ci_low >= LEAST_RHO2,
        ),
        Bar(
            "y = c: largest approximation gap",
            "0 to 1e−9 nats²",
            number(gap),
            bool(gap <= EXACT_GAP),
        ),
    ]


def negative_control(cells: pd.DataFrame, level: float) -> list[Bar]:
    """Hold noisy y to states that are not affine in the log-posterior, as α̂ says."""
    alpha = pooled(cells, "trained.alpha", level)
    each = ((cells["trained.alpha.low"] > 0) | (cells["trained.alpha.high"] < 0)).sum()
    size = f"{cells['world'].nunique()} worlds × {cells['seed'].nunique()} seeds"
    return [
        Bar(
            f"noisy y, {size}: α̂ over worlds",
            f"interval without 0: {NOT_LOG}",
            f"{written(alpha)}: {form_of(alpha)}",
            form_of(alpha) in {NOT_LOG, "the posterior"},
        ),
        Bar(
            "noisy y: α̂'s own interval, cell by cell",
            "without 0",
            f"{each} of {len(cells)}",
            bool(each == len(cells)),
        ),
    ]


def shuffled_bar(cells: pd.DataFrame) -> Bar:
    """Hold shuffled contrasts to an interval of the mean held-out ρ² that reaches chance."""
    asked = cells[cells["shuffled.rho2_mean"].notna()]
    reaches = int((asked["shuffled.rho2_mean.low"] <= 0).sum())
    return Bar(
        "shuffled posteriors: held-out mean ρ²",
        "interval reaches 0 in every cell",
        f"{reaches} of {len(asked)}",
        reaches == len(asked),
    )


def agreement_bar(cells: pd.DataFrame, level: float) -> Bar:
    """Hold two networks that learned one world apart to be affine images of each other."""
    asked = cells[cells["agreement.forward"].notna()] if "agreement.forward" in cells else cells[:0]
    close = asked[asked["agreement.kl"] < AGREEMENT_KL] if len(asked) else asked
    what = f"two networks of one world, both KL < {AGREEMENT_KL:g}, d the rank of the contrasts"
    bar = f"R² both ways, lower bounds ≥ {LEAST_RHO2}"
    if not len(close):
        return Bar(what, bar, "no cell", met=False)
    ways = [pooled(close, f"agreement.{way}", level) for way in ("forward", "backward")]
    return Bar(
        f"{what}, {len(close)} of {len(asked)} pairs",
        bar,
        " and ".join(written(way) for way in ways),
        all(way.ci_low >= LEAST_RHO2 for way in ways),
    )


def ceiling_bars(cells: pd.DataFrame) -> list[Bar]:
    """Hold trained states to the exact log-predictive, both ways, wherever KL is small.

    States that are wider than the log-ratios of y have rank hold more than these, so that the way
    from the predictive to the states is asked only of those that are not.
    """
    close = cells[cells["kl"] < SMALL_KL]
    tight = close[close["trained.rank"] <= close["bayes.rank"]]
    return [
        _ceiling(tight, "ceiling.r2_forward", "R² of f given its log-ratios, d = their rank"),
        _ceiling(close, "ceiling.r2_backward", "R² of its log-ratios given f"),
    ]


def _ceiling(cells: pd.DataFrame, quantity: str, words: str) -> Bar:
    reached = "no cell"
    if len(cells):
        worst = cells.iloc[int(cells[quantity].to_numpy(np.float64).argmin())]
        told = number(float(worst["next_information"]))
        reached = f"least {number(float(worst[quantity]))}, where y tells {told} nats of c"
    passed = int((cells[quantity] >= LEAST_CEILING).sum())
    return Bar(
        f"exact predictive as regressor, where KL < {SMALL_KL:g}: {words}",
        f"≥ {LEAST_CEILING} in every cell",
        f"{passed} of {len(cells)}; {reached}",
        bool(len(cells)) and passed == len(cells),
    )


def form_of(alpha: Estimate) -> str:
    """Say which power of the posterior an interval of α̂ leaves: equivalence, up to a margin."""
    low, high = alpha.ci_low, alpha.ci_high
    if math.isnan(low):
        return "no interval"
    for power, words in ((0.0, LOG), (1.0, "the posterior")):
        if power - ALPHA_MARGIN < low and high < power + ALPHA_MARGIN:
            return words
    return NOT_LOG if low > ALPHA_MARGIN or high < -ALPHA_MARGIN else "undecided"


def written(value: Estimate, decimals: int = 3) -> str:
    """Write an estimate with its interval."""
    return interval(value.estimate, value.ci_low, value.ci_high, decimals)
