"""What a report says of the cells that failed: how many, which, and why."""

import json
from collections.abc import Sequence

import pandas as pd

from concept_ppl.reports import Section, Table
from concept_ppl.reports.manifest import plain

from .cells import FailedCell

MOST_LISTED = 20


def failed_section(failed: Sequence[FailedCell], n_cells: int) -> Section:
    """Return the section that stands before all others where cells failed."""
    reasons = pd.Series([one.failure.reason for one in failed]).value_counts()
    which = [
        {
            "settings": json.dumps(plain(one.cell.settings), sort_keys=True),
            "reason": one.failure.reason,
        }
        for one in failed[:MOST_LISTED]
    ]
    text = (
        f"{len(failed)} of {n_cells} cells failed each time they were tried, and are in no number "
        "below. Their records, with the traceback of each error, lie beside the other cells under "
        "names that end in .failed.json; the same command tries them again."
    )
    tables = [
        Table(
            "Reasons",
            pd.DataFrame({"reason": reasons.index, "cells": reasons.to_numpy()}),
        ),
        Table("The first of them" if len(failed) > MOST_LISTED else "Which", pd.DataFrame(which)),
    ]
    return Section("Cells that failed", text, tables=tables)
