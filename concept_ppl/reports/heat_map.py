"""A matrix as a drawing: a cell for each entry, each of which says its numbers when pointed at."""

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from concept_ppl.errors import InputError
from concept_ppl.formatting import MINUS

from .palette import INK, MODEL, PAPER, RULE, SOFT_INK
from .parts import Figure

NEGATIVE: Final = "#a33b12"
"""Entries below zero; they are told apart by a bar through the cell, too."""

_WIDTH: Final = 640.0
_LETTER: Final = 5.6
"""Width of a letter of the labels, about, in the units of the drawing."""
_FONT: Final = "system-ui, 'Helvetica Neue', Arial, sans-serif"


def heat_map(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    hints: Sequence[Sequence[str]] | None = None,
    row_title: str = "",
    column_title: str = "",
    data: pd.DataFrame | None = None,
    name: str = "heat_map",
    caption: str = "",
    description: str = "",
) -> Figure:
    """Draw a matrix; the stronger the colour, the larger the entry, full at the largest.

    Parameters
    ----------
    values
        (n_rows, n_columns); NaN is an empty cell.
    rows, columns
        What stands beside and above them.
    hints
        For each cell, what a reader is told who points at it; its labels and value by default.
    row_title, column_title
        What rows and columns are.
    data
        The numbers behind the drawing.
    name, caption, description
        As in `Figure`.

    Raises
    ------
    InputError
        If the shapes disagree, or there is no number to draw.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.shape != (len(rows), len(columns)) or not np.isfinite(matrix).any():
        raise InputError(
            f"heat_map: the matrix has shape {matrix.shape} for {len(rows)} rows and "
            f"{len(columns)} columns, and must hold a number."
        )
    largest = float(np.nanmax(np.abs(matrix))) or 1.0
    left = 22.0 + _LETTER * max(map(len, rows))
    top = 22.0 + _LETTER * max(map(len, columns))
    side = min((_WIDTH - left - 4.0) / len(columns), 34.0)
    width, height = _WIDTH, top + side * len(rows) + 44.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:.4g}" '
        f'width="{width:g}" height="{height:.4g}" font-family="{_FONT}" font-size="10.5">'
    ]
    for i, row in enumerate(rows):
        parts.append(_label(row, left - 6.0, top + side * (i + 0.5) + 3.6, "end"))
    for j, column in enumerate(columns):
        x, y = left + side * (j + 0.5) + 3.6, top - 6.0
        parts.append(_label(column, x, y, "start", turned=True))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            value = float(matrix[i, j])
            hint = hints[i][j] if hints is not None else f"{row} | {column}: {_number(value)}"
            parts.append(_cell(value / largest, left + side * j, top + side * i, side, hint))
    parts.append(_label(row_title, 4.0, top - 8.0, "start", soft=True))
    parts.append(_label(column_title, left, 11.0, "start", soft=True))
    parts += _scale(largest, left, top + side * len(rows) + 16.0)
    parts.append("</svg>")
    return Figure(name, caption, "".join(parts), data, description, themed=True)


def _cell(share: float, x: float, y: float, side: float, hint: str) -> str:
    """One square; its title is what pointing at it shows."""
    size = side - 1.0
    title = f"<title>{escape(hint)}</title>"
    place = f'x="{x:.2f}" y="{y:.2f}" width="{size:.2f}" height="{size:.2f}"'
    if np.isnan(share):
        return f'<rect {place} fill="{PAPER}" stroke="{RULE}" stroke-width="0.6">{title}</rect>'
    colour = MODEL if share >= 0 else NEGATIVE
    opacity = 0.04 + 0.96 * min(abs(share), 1.0)
    square = f'<rect {place} fill="{colour}" fill-opacity="{opacity:.3f}">{title}</rect>'
    if share > -0.15:
        return square
    middle = y + size / 2.0
    return square + (
        f'<line x1="{x + 0.25 * size:.2f}" x2="{x + 0.75 * size:.2f}" y1="{middle:.2f}" '
        f'y2="{middle:.2f}" stroke="{INK}" stroke-width="1" pointer-events="none"/>'
    )


def _label(
    text: str, x: float, y: float, anchor: str, *, turned: bool = False, soft: bool = False
) -> str:
    if not text:
        return ""
    turn = f' transform="rotate(-90 {x:.2f} {y:.2f})"' if turned else ""
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="{SOFT_INK if soft else INK}"'
        f"{turn}>{escape(text)}</text>"
    )


def _scale(largest: float, left: float, y: float) -> list[str]:
    """Five squares that say what the colours mean."""
    parts = []
    for step, share in enumerate((-1.0, -0.5, 0.0, 0.5, 1.0)):
        x = left + 72.0 * step
        parts.append(_cell(share, x, y, 13.0, _number(share * largest)))
        parts.append(_label(_number(share * largest), x + 17.0, y + 10.0, "start", soft=True))
    return parts


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", MINUS)
