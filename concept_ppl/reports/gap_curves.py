"""Drawings of what becomes of answers as a gap closes; along the axis the gap falls rightwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from concept_ppl.errors import InputError

from .marks import tick_number, unit_axis
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

LEAST_DECADE: Final = 3.0
"""Largest over smallest gap below which the axis has a number at 1, 2 and 5 of each decade."""


@dataclass(frozen=True, slots=True)
class GapPanel:
    """One panel of a figure of gaps.

    Attributes
    ----------
    title
        Above it.
    quantity
        What is drawn.
    is_share
        Whether it lies between 0 and 1, so that the axis shows that.
    """

    title: str
    quantity: str
    is_share: bool = True


def gap_curves(
    results: pd.DataFrame,
    panels: Sequence[GapPanel],
    *,
    series: Mapping[str, str],
    model: str,
    ceiling: str,
    axis: str,
    name: str,
    caption: str,
    description: str = "",
) -> Figure:
    """Draw quantities against a gap on a logarithmic axis that falls to the right.

    Parameters
    ----------
    results
        Rows with ``quantity, series, run, step, gap, estimate, ci_low, ci_high``. Rows of one
        ``run`` of a series are joined in the order of their steps; those of the ceiling have no
        gap and are drawn as a line with its interval across the panel.
    panels
        From the top.
    series
        Which series to draw, and what the legend calls each; the ceiling last.
    model, ceiling
        The series that is drawn solid and blue, and the one that is a line across.
    axis
        What the gap is.

    Raises
    ------
    InputError
        If a quantity has no row of the model, or a gap is not positive.
    """
    gaps = results.loc[results["series"] != ceiling, "gap"].to_numpy(np.float64)
    if not (len(gaps) and (gaps > 0).all()):
        raise InputError("gap_curves: gaps must be positive, to stand on a logarithmic axis.")
    with report_style():
        canvas = new_canvas(0.9 + 1.9 * len(panels))
        axes_of = canvas.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(axes_of, panels, strict=True):
            own = results[results["quantity"] == panel.quantity]
            if own[own["series"] == model].empty:
                raise InputError(f"gap_curves: no row of quantity {panel.quantity!r}.")
            _panel(axes, own, list(series), model, ceiling)
            axes.set_title(panel.title)
            if panel.is_share:
                unit_axis(axes, own)
            axes.yaxis.set_major_formatter(tick_number)
            horizontal_grid(axes)
        _gap_axis(axes_of[-1], gaps)
        axes_of[-1].set_xlabel(axis, fontsize=TICK_SIZE)
        marks = [_sign(key, i, model, ceiling) for i, key in enumerate(series)]
        canvas.legend(marks, list(series.values()), loc="outside upper left", ncols=2)
    columns = ["quantity", "series", "run", "step", "gap", "estimate", "ci_low", "ci_high"]
    behind = results[columns].reset_index(drop=True)
    return Figure(name, caption, canvas, behind, description, themed=True)


def _panel(axes: Axes, own: pd.DataFrame, series: Sequence[str], model: str, ceiling: str) -> None:
    for number, key in enumerate(series):
        rows = own[own["series"] == key]
        if key == ceiling:
            for _, row in rows.iterrows():
                axes.axhspan(row["ci_low"], row["ci_high"], color=to_rgba(INK, 0.1), linewidth=0)
                axes.axhline(row["estimate"], color=INK, linewidth=1.1, linestyle=(0, (1, 2)))
            continue
        colour = MODEL if key == model else CONTROL
        for _, run in rows.groupby("run", sort=False):
            path = run.sort_values("step")
            axes.vlines(path["gap"], path["ci_low"], path["ci_high"], color=colour, linewidth=1.4)
            axes.plot(path["gap"], path["estimate"], **_marks(key, number, model))


def _marks(key: str, number: int, model: str) -> dict[str, Any]:
    """Return how a series is drawn; each control has a sign of its own."""
    if key == model:
        return {"color": MODEL, "marker": "o", "markersize": 5}
    return {
        "color": CONTROL,
        "marker": "osD^"[number % 4],
        "markersize": 4.5,
        "markerfacecolor": PAPER,
        "linestyle": (0, (4, 2)),
        "linewidth": 1.2,
    }


def _sign(key: str, number: int, model: str, ceiling: str) -> Line2D:
    if key == ceiling:
        return Line2D([], [], color=INK, linewidth=1.1, linestyle=(0, (1, 2)))
    return Line2D([], [], **_marks(key, number, model))


def _gap_axis(axes: Axes, gaps: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> None:
    low, high = float(gaps.min()), float(gaps.max())
    axes.set_xscale("log")
    axes.set_xlim(high * 1.25, low / 1.25)
    narrow = high / low < 10.0**LEAST_DECADE
    subs = (1.0, 2.0, 5.0) if high / low < 30 else (1.0, 3.0) if narrow else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(tick_number))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.spines["bottom"].set_color(SOFT_INK)
