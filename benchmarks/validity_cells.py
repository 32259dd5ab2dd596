"""The validity grid as cells: blocks of replications, each done once and kept in a file of its own.

What is published in docs/reference/validity.csv counts as done; blocks behind it are added to it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from validity_checks import Counts, applies, replicate
from validity_page import TABLE
from validity_verdicts import Planted
from validity_worlds import Cell

from concept_ppl.analyses.studies.laboratory.cells import Cell as StoredCell
from concept_ppl.distributed import Store

RESULTS = Path(__file__).parent / "results" / "validity.cells"
AT_ONCE = 20
"""Replications of a cell that are asked together."""
REVISION = 1
"""Of the checks: raise it when one of them comes to ask something else."""
COLUMNS = ["check", "quantity", "cell", "held", "answered", "asked"]
BETWEEN = " | "


def blocks(
    cells: Sequence[Cell | Planted],
    checks: Sequence[str],
    replications: int,
    environment: Mapping[str, str],
) -> list[StoredCell]:
    """Return what is to be asked so that each cell has so many replications, or a few more."""
    done = {
        (str(row.cell), str(row.check)): int(row.asked)
        for row in published()
        .groupby(["cell", "check"], as_index=False)["asked"]
        .max()
        .itertuples()
    }
    plan = []
    for first, cell in product(range(0, replications, AT_ONCE), cells):
        asked = [
            check
            for check in checks
            if applies(check, cell) and done.get((str(cell), check), 0) <= first
        ]
        if asked:
            settings = {
                "grid": "validity",
                "revision": REVISION,
                "kind": type(cell).__name__,
                "cell": asdict(cell),
                "checks": asked,
                "first": first,
                "replications": AT_ONCE,
            }
            plan.append(StoredCell(settings, environment))
    return plan


def measure(settings: Mapping[str, Any]) -> dict[str, float | str]:
    """Answer a block of replications."""
    first = settings["first"]
    seeds = range(first, first + settings["replications"])
    return flat(replicate(cell_of(settings), tuple(settings["checks"]), seeds))


def cell_of(settings: Mapping[str, Any]) -> Cell | Planted:
    """Return the cell of the grid, or the planted world, that settings name."""
    return {"Cell": Cell, "Planted": Planted}[settings["kind"]](**settings["cell"])


def flat(counts: Counts) -> dict[str, float | str]:
    """Write counts as the answers of a stored cell: ``held answered asked`` by name."""
    return {
        f"{check}{BETWEEN}{quantity}": " ".join(map(str, row))
        for check, rows in counts.items()
        for quantity, row in rows.items()
    }


def published() -> pd.DataFrame:
    """Counts that are in the documents."""
    return pd.read_csv(TABLE)[COLUMNS] if TABLE.exists() else pd.DataFrame(columns=COLUMNS)


def counted(store: Store, environment: Mapping[str, str]) -> pd.DataFrame:
    """Counts so far, a row a check, quantity and cell: published ones, and blocks behind them."""
    table = published()
    asked = {(row.cell, row.quantity): int(row.asked) for row in table.itertuples()}
    known: dict[tuple[str, str, int], dict[str, object]] = {}
    for cell, first, quantities in _stored(store, environment):
        for name, row in quantities.items():
            check, _, quantity = name.partition(BETWEEN)
            if asked.get((cell, quantity), 0) <= first:
                held, answered, n = map(int, row.split())
                values = (check, quantity, cell, held, answered, n)
                known[cell, name, first] = dict(zip(COLUMNS, values, strict=True))
    added = pd.DataFrame(list(known.values()), columns=COLUMNS)
    whole = pd.concat([table, added]) if len(added) else table
    return whole.groupby(COLUMNS[:3], as_index=False).sum()


def _stored(
    store: Store, environment: Mapping[str, str]
) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Yield the name of the cell, the first replication and the answers of each block."""
    for name in sorted(store.names()):
        if name.endswith(".failed.json"):
            continue
        found = json.loads(store.read(name))
        settings = found["settings"]
        if settings["revision"] == REVISION and found["environment"] == dict(environment):
            yield str(cell_of(settings)), settings["first"], found["answers"]
