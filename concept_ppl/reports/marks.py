"""The marks that figures are made of: curves with bands, whiskers, clouds, forest rows."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from concept_ppl.formatting import MINUS, interval

from .palette import CONTROL, INK, MODEL, PAPER, SOFT_INK, TICK_SIZE, vertical_grid

MOST_DOTS: Final = 400
"""Above this many points a panel shows how many lie in each hexagon instead of each one."""

MOST_SITE_LABELS: Final = 9


def curve(axes: Axes, places: Mapping[str, float], rows: pd.DataFrame, *, is_model: bool) -> None:
    """Draw estimates joined by a line over a band from ``ci_low`` to ``ci_high``."""
    colour = MODEL if is_model else CONTROL
    at = np.array([places[layer] for layer in rows["layer"]])
    order = np.argsort(at, kind="stable")
    at, rows = at[order], rows.iloc[order]
    axes.fill_between(at, rows["ci_low"], rows["ci_high"], color=to_rgba(colour, 0.18), linewidth=0)
    axes.plot(
        at,
        rows["estimate"],
        color=colour,
        linestyle="-" if is_model else (0, (4, 2)),
        marker="o",
        markersize=5 if is_model else 4.5,
        markerfacecolor=colour if is_model else PAPER,
    )


def whiskers(
    axes: Axes,
    at: NDArray[np.float64],
    rows: pd.DataFrame,
    *,
    is_model: bool | Sequence[bool],
    horizontal: bool = False,
) -> None:
    """Draw each estimate as a dot on a line that spans its interval."""
    flags = [is_model] * len(rows) if isinstance(is_model, bool) else is_model
    line = axes.hlines if horizontal else axes.vlines
    for place, ours, (_, row) in zip(at, flags, rows.iterrows(), strict=True):
        colour = MODEL if ours else CONTROL
        line(place, row["ci_low"], row["ci_high"], color=colour, linewidth=2.0 if ours else 1.6)
        x, y = (row["estimate"], place) if horizontal else (place, row["estimate"])
        axes.plot(
            [x],
            [y],
            color=colour,
            linestyle="none",
            marker="o",
            markersize=5,
            markerfacecolor=colour if ours else PAPER,
            markeredgewidth=1.4,
        )


def forest(axes: Axes, rows: pd.DataFrame, labels: Sequence[str], is_model: Sequence[bool]) -> None:
    """Draw each estimate on its interval, from the top; above it, its label and its numbers.

    Words stand above the marks and not beside them, so that the axis has the whole width: on a
    phone the intervals would otherwise shrink below their dots.
    """
    at = np.arange(len(rows), dtype=np.float64)
    whiskers(axes, at, rows, is_model=is_model, horizontal=True)
    axes.set_ylim(len(rows) - 0.6, -0.75)
    axes.set_yticks([])
    for place, label, ours, (_, row) in zip(at, labels, is_model, rows.iterrows(), strict=True):
        numbers = interval(row["estimate"], row["ci_low"], row["ci_high"])
        for x, side, words in ((0.0, "left", label), (1.0, "right", numbers)):
            axes.text(
                x,
                place - 0.2,
                words,
                transform=axes.get_yaxis_transform(),
                horizontalalignment=side,
                verticalalignment="bottom",
                fontsize=TICK_SIZE,
                color=INK if ours else SOFT_INK,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 2.5},
            )
    vertical_grid(axes)


def cloud(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    limits: tuple[float, float],
) -> None:
    """Draw a few points as dots and many as hexagons, the darker the more, over the line y = x."""
    if len(x) <= MOST_DOTS:
        axes.scatter(x, y, s=9, color=to_rgba(MODEL, 0.45), linewidths=0)
    else:
        hexagons = axes.hexbin(x, y, gridsize=28, extent=(*limits, *limits), mincnt=1, linewidths=0)
        depth = np.log1p(np.asarray(hexagons.get_array(), dtype=np.float64))
        hexagons.set_array(None)
        # One colour at several opacities, not a colour map, so that it reads on a dark page too.
        shades = 0.16 + 0.84 * depth / depth.max()
        hexagons.set_facecolor([to_rgba(MODEL, round(float(shade), 3)) for shade in shades])
        hexagons.set_edgecolor("none")
    axes.plot(limits, limits, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    axes.locator_params(nbins=4)
    axes.xaxis.set_major_formatter(tick_number)
    axes.yaxis.set_major_formatter(tick_number)


def unit_axis(axes: Axes, rows: pd.DataFrame, *, horizontal: bool = False) -> None:
    """Show 0 to 1, and as much below zero as the intervals need; held-out R² can be negative."""
    lowest = np.nanmin([0.0, rows["estimate"].min(), rows["ci_low"].min()])
    limits = (float(lowest) - (0.03 if lowest < 0 else 0.0), 1.02)
    (axes.set_xlim if horizontal else axes.set_ylim)(limits)
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    if lowest < -0.4:
        ticks = [-0.5 * step for step in range(int(-lowest / 0.5), 0, -1)] + [0.0, 0.5, 1.0]
    axis = axes.xaxis if horizontal else axes.yaxis
    axis.set_ticks(ticks)
    axis.set_major_formatter(tick_number)


def site_label(layer: str) -> str:
    """Name a site for an axis: ``resid.12`` is 12, ``resid.0`` embedding, ``final_norm`` norm."""
    name = layer.removeprefix("resid.")
    if name in {"0", "embedding", "embeddings"}:
        return "embedding"
    return "norm" if name in {"final_norm", "norm"} else name


def site_positions(layers: Sequence[str]) -> list[float]:
    """Place sites on an axis: blocks at their number, embedding and norm just outside.

    Sites that are not all numbered blocks, embedding or norm are placed one apart, as they come.
    """
    labels = [site_label(layer) for layer in layers]
    blocks = [float(label) for label in labels if re.fullmatch(r"\d+", label)]
    if not blocks or any(
        not re.fullmatch(r"\d+|embedding|norm", label) or labels.count(label) > 1
        for label in labels
    ):
        return [float(place) for place in range(len(layers))]
    span = max(blocks) - min(blocks)
    outside = {
        "embedding": min(blocks) - max(1.0, 0.17 * span),
        "norm": max(blocks) + max(1.0, 0.12 * span),
    }
    return [outside[label] if label in outside else float(label) for label in labels]


def label_sites(axes: Axes, places: Mapping[str, float], axis: str = "layer") -> None:
    """Label the layers, where there are many only round numbers; the first and last always."""
    ordered = sorted(places, key=places.__getitem__)
    names = {layer: site_label(layer) for layer in ordered}
    numbers = [int(name) for name in names.values() if name.isdecimal()]
    span = places[ordered[-1]] - places[ordered[0]]
    step = 1
    if len(ordered) > MOST_SITE_LABELS and numbers:
        step = next(
            step for step in (2, 5, 10, 20, 50, 100, 1000) if max(numbers) / step < MOST_SITE_LABELS
        )
    kept = [ordered[0]]
    for layer in ordered[1:-1]:
        is_round = not names[layer].isdecimal() or int(names[layer]) % step == 0
        gap = min(places[layer] - places[kept[-1]], places[ordered[-1]] - places[layer])
        if is_round and gap >= 0.05 * span:
            kept.append(layer)
    kept += ordered[1:][-1:]
    axes.set_xticks([places[layer] for layer in kept], [names[layer] for layer in kept])
    axes.set_xlabel(axis)


def legend_handle(*, is_model: bool, line: bool) -> Line2D:
    """Make the sign that stands for the model, or for a control, in a legend."""
    colour = MODEL if is_model else CONTROL
    return Line2D(
        [],
        [],
        color=colour,
        marker="o",
        markerfacecolor=colour if is_model else PAPER,
        linestyle=("-" if is_model else (0, (4, 2))) if line else "none",
    )


def tick_number(value: float, _: object = None) -> str:
    """Write a tick with as few digits as it needs and a true minus sign."""
    return f"{value:.6g}".replace("-", MINUS)
