"""Sections that reports of the laboratory share: what was learned, how numbers came about."""

import pandas as pd

from concept_ppl.reports import Section, Table, number

from .bars import written
from .measures import CONTROLS
from .over_worlds import pooled
from .runs import Extent

SHORT = ("untrained", "hidden", "bag Σ", "bag mean", "last")
EACH_NOTE = (
    "The same network before its first step: its f, and its last hidden layer; sum and mean of the "
    "input embeddings; the last token alone; posteriors shuffled between contexts."
)
LEARNED, LINEAR_ONLY, LESS = "learned", "not told apart", "control is better"


def learned_section(cells: pd.DataFrame, groups: dict[str, pd.DataFrame], level: float) -> Section:
    """Return trained networks beside what needs no training, world by world.

    Parameters
    ----------
    cells
        All trained cells.
    groups
        Those of each row of the table, by its name.
    """
    rows, each = [], []
    for name, group in groups.items():
        gain = pooled(group, "difference", level)
        rows.append(
            {
                "world": name,
                "difference": written(gain, 2),
                "verdict": verdict_of(gain.ci_low, gain.ci_high),
                "trained": written(pooled(group, "held_out.r2_backward", level), 2),
                "best control": written(pooled(group, "control.best", level), 2),
            }
        )
        each.append(
            {
                "world": name,
                **{
                    short: number(pooled(group, f"control.{control}", level).estimate, 2)
                    for short, control in zip(SHORT, CONTROLS, strict=True)
                },
                "shuffled": number(pooled(group, "control.shuffled", level).estimate, 2),
            }
        )
    own = (cells["difference.low"] > 0).sum()
    text = (
        "Held-out R² of the log-odds, of trained networks and of what no training made, means over "
        "worlds and seeds with intervals over worlds. The best control is chosen inside the "
        "training folds. “Learned” is said only where trained minus best control has an interval "
        f"above 0; in {own} of {len(cells)} cells the cell's own interval (over contexts) lies "
        "there.\n\n"
        "Where tokens are independent given a fixed concept, contrasts of the log-posterior are "
        "additive, sums over the tokens: a bag of input embeddings is linear in them exactly, with "
        "random embeddings too, and the hidden layer of a wide random network nearly so. In such "
        "worlds nothing can be learned beyond the controls, however well the claim holds. Worlds "
        "whose concept moves, and single concepts of a dependent joint, are not additive; there a "
        "gain is possible."
    )
    tables = [
        Table("Trained minus best control", pd.DataFrame(rows)),
        Table("Each control", pd.DataFrame(each), note=EACH_NOTE),
    ]
    return Section("Linear, or learned", text, tables=tables)


def verdict_of(low: float, high: float) -> str:
    """Say whether trained minus best control lies above 0, below it, or neither."""
    if low > 0:
        return LEARNED
    return LESS if high < 0 else LINEAR_ONLY


def methods_section(extent: Extent, worlds: str) -> Section:
    """Return how the numbers came about, the same words in each study."""
    return Section(
        "Methods",
        f"{worlds}\n\n"
        "Every context of a world is enumerated with its probability p(x), its exact predictive "
        "p(y|x) and its exact posterior p(c|x), in log-space and float64. Predictors are trained "
        "by next-token prediction alone, on p(x) p(y|x) itself, the limit of infinite data, for at "
        f"most {extent.steps:,} steps or until KL to the Bayes predictive is small; one thread "
        "each, the same seed the same numbers, bit for bit.\n\n"
        "Analyses weight each context by p(x), and a distinct context is one cluster. Since all of "
        "them are enumerated, contexts are not a sample: R² and ρ² without the word held-out are "
        "numbers of the population and have no sampling error. Held-out numbers say whether maps "
        "fitted to some contexts hold for the others. What was drawn at random are worlds and "
        "first weights, and these are replicated: estimates are means over worlds of means over "
        f"seeds, and intervals ({100 * extent.level:g}%) are Student's over worlds, on the scale "
        "of log(1 − R²) for shares and of log-odds for gaps.\n\n"
        "Contrasts are log-odds against the first value, never raw log-probabilities; where they "
        "are collinear, they are rotated to those that are not. α is the power of the posterior "
        "that states are affine in: 0 the log-posterior, 1 the posterior itself. The approximation "
        "gap is the share of the variance of Bayes's log-ratios that the best affine function of "
        "the log-posterior leaves, by enumeration.",
    )
