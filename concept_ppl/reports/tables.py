"""How a data frame reads as a table on the page: columns chosen, numbers set, order to sort by."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd

from concept_ppl.formatting import column_format, decimals_of, interval, is_missing, write

from .parts import Table

LONG: Final = 12
"""More rows than this and the table is folded away until the reader opens it."""

_INTERVAL: Final = ("estimate", "ci_low", "ci_high")
_HEADINGS: Final[Mapping[str, str]] = {
    "std_error": "std. error",
    "p_value": "p",
    "p_adjusted": "adjusted p",
    "n_clusters": "clusters",
    "ci_low": "low",
    "ci_high": "high",
    "ci_level": "level",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as printed, and what it sorts by where that is not its text."""

    text: str
    sort_key: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, whether it holds numbers, and its cells."""

    heading: str
    is_numeric: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class TableView:
    """A table ready for the template."""

    caption: str
    note: str
    columns: tuple[Column, ...]
    n_rows: int

    @property
    def is_long(self) -> bool:
        """Whether the page folds it away."""
        return self.n_rows > LONG

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """The cells by row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


def table_view(table: Table) -> TableView:
    """Choose what of a table is printed, and how."""
    frame = table.frame.reset_index(drop=True)
    joins = all(name in frame.columns for name in _INTERVAL)
    level = _level(frame) if joins else ""
    columns: list[Column] = []
    for position, name in enumerate(frame.columns):
        values = frame.iloc[:, position]
        is_empty = bool(len(frame)) and all(is_missing(cell) or cell == "" for cell in values)
        if (joins and name in _INTERVAL[1:]) or (level and name == "ci_level"):
            continue
        if is_empty and name not in table.headings:
            continue
        heading = table.headings.get(str(name), _HEADINGS.get(str(name), str(name)))
        if joins and name == "estimate":
            columns.append(_interval_column(frame, f"{heading} [{level or 'interval'}]"))
            continue
        columns.append(_column(values, heading, table.formats.get(str(name))))
    return TableView(table.caption, table.note, tuple(columns), len(frame))


def _column(values: pd.Series, heading: str, asked: str | None) -> Column:
    how = asked or column_format(values, values.name)
    if how == "text":
        return Column(heading, False, tuple(Cell(write(cell, "text")) for cell in values))
    return Column(heading, True, tuple(Cell(write(cell, how), _sort_key(cell)) for cell in values))


def _interval_column(frame: pd.DataFrame, heading: str) -> Column:
    triples = frame[list(_INTERVAL)].to_numpy(dtype=float, na_value=math.nan)
    names = frame["quantity"] if "quantity" in frame.columns else [""] * len(frame)
    cells = (
        Cell(interval(value, low, high, decimals_of(name)), _sort_key(value))
        for (value, low, high), name in zip(triples, names, strict=True)
    )
    return Column(heading, True, tuple(cells))


def _level(frame: pd.DataFrame) -> str:
    """Say the level of all intervals in the head, if they have one in common."""
    levels = set(frame["ci_level"].dropna()) if "ci_level" in frame.columns else set()
    return f"{100 * float(levels.pop()):.4g}% interval" if len(levels) == 1 else ""


def _sort_key(cell: object) -> str:
    return "" if is_missing(cell) else repr(cell) if isinstance(cell, int) else str(cell)
