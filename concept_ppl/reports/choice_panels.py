"""A drawing of one number under every choice that could have been made, a small panel a pair."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from concept_ppl.errors import InputError

from .marks import site_label, site_positions, tick_number
from .palette import (
    CONTROL,
    INK,
    MODEL,
    PAPER,
    SOFT_INK,
    TICK_SIZE,
    horizontal_grid,
    new_canvas,
    report_style,
)
from .parts import Figure


def choice_panels(
    results: pd.DataFrame,
    *,
    rows: tuple[str, Sequence[str]],
    columns: tuple[str, Sequence[str]],
    marked: tuple[str, str, str],
    name: str,
    caption: str,
    description: str,
) -> Figure:
    """Draw differences along the layers against zero, a panel for each row and column.

    Parameters
    ----------
    results
        Rows with ``layer, estimate, ci_low, ci_high`` and the columns that hold both choices.
        Intervals above zero are drawn blue and filled, below it as squares, others hollow grey.
    rows, columns
        Column of a choice, and its values in the order in which they are drawn.
    marked
        Row, column and layer of the choice that was made, which is ringed.

    Raises
    ------
    InputError
        If a panel would be empty.
    """
    layers = list(dict.fromkeys(results["layer"]))
    places = dict(zip(layers, site_positions(layers), strict=True))
    low, high = float(results["ci_low"].min()), float(results["ci_high"].max())
    room = 0.06 * (high - low)
    with report_style():
        canvas = new_canvas(0.7 + 1.25 * len(rows[1]))
        grid = canvas.subplots(
            len(rows[1]), len(columns[1]), sharex=True, sharey=True, squeeze=False
        )
        for j, row in enumerate(rows[1]):
            for k, column in enumerate(columns[1]):
                axes = grid[j, k]
                own = results[(results[rows[0]] == row) & (results[columns[0]] == column)]
                if own.empty:
                    raise InputError(f"choice_panels: nothing for {row!r} and {column!r}.")
                _draw(axes, own, places)
                if (row, column) == marked[:2]:
                    value = own.loc[own["layer"] == marked[2], "estimate"].iloc[0]
                    axes.plot([places[marked[2]]], [value], **_RING)
                if j == 0:
                    axes.set_title(_broken(column), fontsize=TICK_SIZE, fontweight="normal")
                if k == 0:
                    axes.set_ylabel(_broken(row), fontsize=TICK_SIZE)
        ends = (layers[0], layers[-1])
        for axes in grid.flat:
            axes.set_ylim(min(low, 0.0) - room, max(high, 0.0) + room)
            axes.yaxis.set_major_formatter(tick_number)
            axes.set_xticks([places[end] for end in ends], [site_label(end) for end in ends])
        canvas.supxlabel("layer", fontsize=TICK_SIZE, color=INK)
    kept = [rows[0], columns[0], "layer", "estimate", "ci_low", "ci_high"]
    behind = results[kept].reset_index(drop=True)
    return Figure(name, caption, canvas, behind, description, themed=True)


_RING = {
    "marker": "o",
    "markersize": 12,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "linestyle": "none",
}


def _draw(axes: Axes, own: pd.DataFrame, places: dict[str, float]) -> None:
    axes.axhline(0.0, color=SOFT_INK, linewidth=1.0)
    for row in own.to_dict("records"):
        at = places[row["layer"]]
        above, below = row["ci_low"] > 0, row["ci_high"] < 0
        colour = MODEL if above else INK if below else CONTROL
        axes.vlines(at, row["ci_low"], row["ci_high"], color=colour, linewidth=1.6)
        axes.plot(
            [at],
            [row["estimate"]],
            color=colour,
            linestyle="none",
            marker="s" if below else "o",
            markersize=4,
            markerfacecolor=colour if above or below else PAPER,
        )
    horizontal_grid(axes)
    axes.margins(x=0.12)


def _broken(words: str) -> str:
    """Break a name of several words after the one that passes half of it."""
    parts, best = words.split(" "), words
    if len(words) > 12 and len(parts) > 1:
        cut = min(
            range(1, len(parts)), key=lambda i: abs(len(" ".join(parts[:i])) - len(words) / 2)
        )
        best = " ".join(parts[:cut]) + "\n" + " ".join(parts[cut:])
    return best
