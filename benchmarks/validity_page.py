"""What the counts of the validity grid say, and where the documents say it.

Figures in docs/explanation/tests.md are links whose title names a quantity; they are written anew
from the counts, so that no figure there is typed by hand.
"""

import datetime
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from validity_worlds import grid

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "reference" / "validity.csv"
PAGE = ROOT / "docs" / "reference" / "validity.md"
EXPLANATION = ROOT / "docs" / "explanation" / "tests.md"

NOMINAL = {"covers": 0.95, "size": 0.05, "right": 1.0}
STANDARD_ERRORS = 3.5
AXES = {"tails": 0, "errors": 1, "rows": 2, "rank": 3, "R²": 4, "clusters": 5}
"""Where in the name of a cell each axis of the grid stands."""
QUOTED = re.compile(r'\[[^]]*\]\(\.\./reference/validity\.md "([^"]+)"\)')


def with_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Add to counts their rate, and how many standard errors it is off its nominal one."""
    nominal = counts["quantity"].str.rpartition(": ")[2].map(NOMINAL)
    rate = counts["held"] / counts["answered"]
    error = np.sqrt(nominal * (1 - nominal) / counts["answered"])
    return counts.assign(rate=rate, off=((rate - nominal) / error).where(error > 0))


def by_quantity(table: pd.DataFrame) -> pd.DataFrame:
    """Sum up the cells of each quantity: the average rate, the range, the cells that are off."""
    everywhere, grouped = (t.groupby("quantity") for t in (table, table[table["answered"] > 0]))
    return pd.DataFrame(
        {
            "average": grouped["rate"].mean(),
            "lowest": grouped["rate"].min(),
            "highest": grouped["rate"].max(),
            "cells": grouped.size(),
            "off": grouped["off"].agg(lambda off: int((off.abs() > STANDARD_ERRORS).sum())),
            "declined": 1 - everywhere["answered"].sum() / everywhere["asked"].sum(),
            "replications": grouped["answered"].median().astype(int),
        }
    )


def write_page(table: pd.DataFrame) -> None:
    """Write the counts as CSV, their summary as a page, and the figures that are quoted of them."""
    TABLE.write_text(table.to_csv(index=False, float_format="%.4f"))
    PAGE.write_text("\n".join(_lines(table)))
    EXPLANATION.write_text(quote(EXPLANATION.read_text(), table))


def quote(text: str, table: pd.DataFrame) -> str:
    """Put the average rate of each quantity that the text names into its link."""
    averages = by_quantity(table)["average"]

    def figure(match: re.Match[str]) -> str:
        rate = f"{averages[match[1]]:.3f}".removeprefix("0")
        return f'[{rate}](../reference/validity.md "{match[1]}")'

    return QUOTED.sub(figure, text)


def _lines(table: pd.DataFrame) -> Iterator[str]:
    packages = ("concept-ppl", "numpy", "scipy", "statsmodels")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    today = datetime.datetime.now(datetime.UTC).date()
    grid_cells = table.loc[~table["cell"].str.startswith("planted"), "cell"].nunique()
    yield "# Measured validity\n"
    yield (
        "How often intervals of nominally 95% cover and tests of nominally 5% reject a true null, "
        "over planted\nworlds; made by `make validity`, all counts in [validity.csv](validity.csv)."
        f" *Off* are cells whose rate\nis more than {STANDARD_ERRORS} Monte-Carlo standard errors "
        "from its nominal value, and *declined* is the share of\nsamples for which a method says "
        "that it is not valid. “Verdict: right” counts the verdicts of four planted\nworlds "
        "(`benchmarks/validity_verdicts.py`), which ought to be right in 95% of runs.\n"
    )
    yield (
        f"{grid_cells} of {len(list(grid()))} cells were run, with the replications that the last "
        f"column\ngives (median over cells). {today}, Python {platform.python_version()}, "
        f"{versions}; seeds 0, 1, … in each cell.\n"
    )
    yield "| quantity | average | lowest | highest | cells | off | declined | replications |"
    yield "|---|---|---|---|---|---|---|---|"
    for quantity, row in by_quantity(table).iterrows():
        yield (
            f"| {quantity} | {row['average']:.3f} | {row['lowest']:.3f} | {row['highest']:.3f} "
            f"| {row['cells']:.0f} | {row['off']:.0f} | {row['declined']:.0%} "
            f"| {row['replications']:.0f} |"
        )
    on_grid = table[~table["cell"].str.startswith("planted")]
    for axis, position in AXES.items():
        values = on_grid.assign(value=on_grid["cell"].str.split("/").str[position])
        rates = values.pivot_table("rate", "quantity", "value", "mean")
        yield f"\nAverage rates by {axis}:\n"
        yield "| quantity | " + " | ".join(rates.columns) + " |"
        yield "|---" * (1 + len(rates.columns)) + "|"
        for quantity, row in rates.iterrows():
            yield f"| {quantity} | " + " | ".join(f"{rate:.3f}" for rate in row) + " |"
    yield ""
