"""What is wrong with the word pairs, concept by concept, before anything is made of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from concept_ppl.analyses.pairs.designs import lexeme_components
from concept_ppl.analyses.pairs.sign_flips import smallest_p_value
from concept_ppl.contexts.counterfactual_pairs import NOT_TWO_WORDS, REPEATED, SAME_WORD, PairLists
from concept_ppl.errors import InputError

from .states import TokenIds

FEW_TARGETS = 0.5
"""Of the pairs: with fewer distinct second words the target repeats, not the relation."""

FEWEST_UNITS = 2


@dataclass(frozen=True, eq=False)
class PairHygiene:
    """The pairs that are analysed, and what a reader must know of each concept.

    Attributes
    ----------
    pairs
        Those of concepts that can be held out.
    table
        A row for each concept of the input.
    skipped
        Lines and concepts that were left out, with the reason.
    """

    pairs: PairLists
    table: pd.DataFrame
    skipped: pd.DataFrame


def examine_pairs(pairs: PairLists, tokens: TokenIds, level: float) -> PairHygiene:
    """Count, for each concept, what makes its pairs less than they seem.

    Parameters
    ----------
    pairs
        As read.
    tokens
        Token ids of each of its words.
    level
        Confidence level; a test at 1 − level rejects.

    Raises
    ------
    InputError
        If no concept has two units of pairs.
    """
    component = lexeme_components(pairs.first, pairs.second)
    last = np.array([row[-1] for row in tokens])
    count = np.array([len(row) for row in tokens])
    odd = np.array([" " in word or "/" in word for word in pairs.words])
    rows, usable = [], []
    for code, concept in enumerate(pairs.concepts):
        own = np.flatnonzero(pairs.concept == code)
        first, second = pairs.first[own], pairs.second[own]
        units = len(np.unique(component[own]))
        usable.append(units >= FEWEST_UNITS)
        reasons = [line.reason for line in pairs.skipped if line.concept == concept]
        rows.append(
            {
                "concept": concept,
                "pairs": len(own),
                "units": units,
                "distinct first": len(np.unique(first)),
                "distinct second": len(np.unique(second)),
                "same last token": int((last[first] == last[second]).sum()),
                "as many tokens": int((count[first] == count[second]).sum()),
                "one token each": int(((count[first] == 1) & (count[second] == 1)).sum()),
                "spaces or slashes": int((odd[first] | odd[second]).sum()),
                "repeated": reasons.count(REPEATED),
                "identical": reasons.count(SAME_WORD),
                "malformed": reasons.count(NOT_TWO_WORDS),
                "smallest p": smallest_p_value(units),
            }
        )
    table = pd.DataFrame(rows)
    table["remarks"] = _remarks(table, int(np.sum(usable)), 1.0 - level)
    if not any(usable):
        raise InputError(
            "No concept has two sets of pairs that share no word, so none can be held out; give "
            "more pairs, or pairs that share fewer words."
        )
    kept = np.array(usable)
    return PairHygiene(pairs.take(kept[pairs.concept]), table, _skipped(pairs))


def _remarks(table: pd.DataFrame, n_tests: int, size: float) -> list[str]:
    remarks = []
    for row in table.to_dict("records"):
        found = []
        if row["units"] < FEWEST_UNITS:
            found.append("left out: one unit cannot be held out")
        elif row["smallest p"] > size:
            found.append("too few units for any test to reject")
        elif row["smallest p"] > size / max(n_tests, 1):
            found.append("too few units to reject first among all concepts (Holm)")
        if row["distinct second"] < FEW_TARGETS * row["pairs"]:
            found.append(f"only {row['distinct second']} second words")
        if row["distinct first"] < FEW_TARGETS * row["pairs"]:
            found.append(f"only {row['distinct first']} first words")
        if row["same last token"] >= FEW_TARGETS * row["pairs"]:
            found.append("most pairs end in the same token")
        remarks.append("; ".join(found))
    return remarks


def _skipped(pairs: PairLists) -> pd.DataFrame:
    lines = [
        {"concept": line.concept, "line": line.line, "entry": line.text, "reason": line.reason}
        for line in pairs.skipped
    ]
    return pd.DataFrame(lines, columns=["concept", "line", "entry", "reason"])
