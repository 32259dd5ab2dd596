"""Drawings of what studies vary: curves along one knob, and maps over two."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from concept_ppl.errors import InputError
from concept_ppl.formatting import MINUS, number

from .marks import curve, legend_handle, tick_number, unit_axis
from .palette import INK, MODEL, SOFT_INK, TICK_SIZE, horizontal_grid, new_canvas, report_style
from .parts import Figure

SMALL: Final = 8.5
"""Points: of what is printed inside a map."""
DARKEST: Final = 0.62
"""Opacity of the largest value of a map; ink on it is still read."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of a figure of curves.

    Attributes
    ----------
    title
        Above it.
    model, reference
        Quantities to draw solid and muted; an empty reference draws none.
    """

    title: str
    model: str
    reference: str = ""


def knob_curves(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    knob: str,
    axis: str,
    labels: tuple[str, str],
    name: str,
    caption: str,
    description: str = "",
) -> Figure:
    """Draw quantities between 0 and 1 along a knob, two panels a row, with bands for intervals.

    Parameters
    ----------
    results
        Rows with ``quantity, estimate, ci_low, ci_high`` and the column of the knob.
    panels
        What to draw.
    knob, axis
        Column of the knob, and what to call it.
    labels
        What the solid and the muted curves are.

    Raises
    ------
    InputError
        If a quantity has no row.
    """
    settings = sorted(results[knob].unique())
    places = {str(value): float(i) for i, value in enumerate(settings)}
    rows = results.assign(layer=results[knob].map(str))
    n_rows = -(-len(panels) // 2)
    with report_style():
        canvas = new_canvas(0.7 + 1.75 * n_rows)
        axes_of = canvas.subplots(n_rows, 2, sharex=True, squeeze=False)
        for axes, panel in zip(axes_of.flat, panels, strict=False):
            both = rows[rows["quantity"].isin([panel.model, panel.reference])]
            ours = both[both["quantity"] == panel.model]
            if ours.empty:
                raise InputError(f"knob_curves: no row of quantity {panel.model!r}.")
            other = both[both["quantity"] == panel.reference]
            if not other.empty:
                curve(axes, places, other, is_model=False)
            curve(axes, places, ours, is_model=True)
            axes.set_title(panel.title, fontsize=TICK_SIZE)
            unit_axis(axes, both.fillna({"ci_low": 0.0}))
            horizontal_grid(axes)
            axes.set_xticks(list(places.values()), [tick_number(float(v)) for v in settings])
            axes.set_xlim(-0.3, len(settings) - 0.7)
        for axes in axes_of.flat[len(panels) :]:
            axes.set_visible(False)
        canvas.supxlabel(axis, fontsize=TICK_SIZE, color=INK)
        handles = [legend_handle(is_model=m, line=True) for m in (True, False)]
        canvas.legend(handles, list(labels), loc="outside upper right", ncols=2)
    behind = rows[[knob, "quantity", "estimate", "ci_low", "ci_high", "n", "n_clusters"]]
    return Figure(name, caption, canvas, behind.reset_index(drop=True), description, themed=True)


@dataclass(frozen=True, slots=True)
class Layer:
    """One map of a figure of maps.

    Attributes
    ----------
    title
        Above it.
    quantity
        What is shaded and printed.
    most
        The value that is darkest; lighter down to 0.
    """

    title: str
    quantity: str
    most: float = 1.0


def regime_maps(
    results: pd.DataFrame,
    layers: Sequence[Layer],
    *,
    rows: str,
    columns: str,
    axes_names: tuple[str, str],
    marked: Mapping[float, str],
    name: str,
    caption: str,
    description: str = "",
) -> Figure:
    """Draw maps over two knobs: a square a cell, the darker the larger, its number inside.

    Parameters
    ----------
    results
        Rows with ``quantity, estimate`` and the columns of both knobs.
    layers
        The maps, two a row.
    rows, columns
        Columns of the knobs that go up and to the right.
    axes_names
        What to call them.
    marked
        Values of the knob ``rows`` whose row is framed, and the words that stand beside the frame.

    Raises
    ------
    InputError
        If a quantity has no row.
    """
    up, right = (sorted(results[knob].unique()) for knob in (rows, columns))
    n_rows = -(-len(layers) // 2)
    with report_style():
        canvas = new_canvas(0.35 + n_rows * (0.75 + 0.3 * len(up)))
        panels = canvas.subplots(n_rows, 2, sharex=True, sharey=True, squeeze=False)
        for axes, layer in zip(panels.flat, layers, strict=False):
            own = results[results["quantity"] == layer.quantity]
            if own.empty:
                raise InputError(f"regime_maps: no row of quantity {layer.quantity!r}.")
            _map(axes, own, (up, right), (rows, columns), layer.most)
            axes.set_title(layer.title, fontsize=TICK_SIZE)
            for value, words in marked.items():
                if value in up:
                    _frame(axes, up.index(value), len(right), words)
        for axes in panels.flat[len(layers) :]:
            axes.set_visible(False)
        canvas.supylabel(axes_names[0], fontsize=TICK_SIZE, color=INK)
        canvas.supxlabel(axes_names[1], fontsize=TICK_SIZE, color=INK)
    wanted = results[results["quantity"].isin([layer.quantity for layer in layers])]
    behind = wanted[[rows, columns, "quantity", "estimate", "ci_low", "ci_high", "n_clusters"]]
    return Figure(name, caption, canvas, behind.reset_index(drop=True), description, themed=True)


def _map(
    axes: Axes,
    own: pd.DataFrame,
    settings: tuple[list[float], list[float]],
    knobs: tuple[str, str],
    most: float,
) -> None:
    up, right = settings
    for y, x, value in zip(own[knobs[0]], own[knobs[1]], own["estimate"], strict=True):
        j, i = up.index(y), right.index(x)
        depth = DARKEST * float(np.clip(np.nan_to_num(value / most), 0.0, 1.0))
        shade = to_rgba(MODEL, round(depth, 3))
        axes.add_patch(Rectangle((i - 0.47, j - 0.47), 0.94, 0.94, facecolor=shade, linewidth=0))
        axes.text(i, j, _short(value), ha="center", va="center", fontsize=SMALL, color=INK)
    axes.set_xlim(-0.55, len(right) - 0.45)
    axes.set_ylim(-0.55, len(up) - 0.45)
    axes.set_xticks(range(len(right)), [tick_number(float(v)) for v in right])
    axes.set_yticks(range(len(up)), [tick_number(float(v)) for v in up])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _frame(axes: Axes, row: int, width: int, words: str) -> None:
    """Frame a row of the map, and put its words at its right end."""
    axes.add_patch(
        Rectangle(
            (-0.5, row - 0.5), width, 1.0, fill=False, edgecolor=INK, linewidth=1.1, clip_on=False
        )
    )
    axes.annotate(
        words,
        (width - 0.45, row),
        annotation_clip=False,
        ha="left",
        va="center",
        fontsize=SMALL,
        color=SOFT_INK,
    )


def _short(value: float) -> str:
    """Write a number of a map in as little room as it needs: .87, 1, < .01, −.12."""
    if math.isnan(value):
        return "–"
    if 0 < abs(value) < 0.005:
        return "≈0" if abs(value) < 1e-6 else "<.01"
    text = number(value, 2)
    return text.replace("0.", ".", 1) if text.startswith(("0.", f"{MINUS}0.")) else text
