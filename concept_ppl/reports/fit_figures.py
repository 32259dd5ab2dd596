"""Drawings of what a fit reached, what it can reproduce, and how reliable its probabilities are."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike, NDArray

from concept_ppl.errors import InputError

from .marks import legend_handle, tick_number, whiskers
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

MOST_NAMED = 8
"""Above this many statistics the axis says only in which order they stand."""


def replicate_ranges(
    rows: pd.DataFrame, *, label: str, name: str, caption: str = "", description: str = ""
) -> Figure:
    """Draw observed statistics over the ranges of replicated ones, in order of the ranges' middle.

    Parameters
    ----------
    rows
        With ``term, estimate`` (as observed), ``ci_low, ci_high`` (the replicates' range).
    label
        Of the vertical axis.

    Raises
    ------
    InputError
        If there is no row.
    """
    if rows.empty:
        raise InputError(f"replicate_ranges: there is no statistic of '{label}' to draw.")
    middle = (rows["ci_low"] + rows["ci_high"]).to_numpy()
    many = len(rows) > MOST_NAMED
    shown = rows.iloc[np.argsort(middle, kind="stable")] if many else rows
    low, high = shown["ci_low"].to_numpy(), shown["ci_high"].to_numpy()
    observed = shown["estimate"].to_numpy()
    inside = (low <= observed) & (observed <= high)
    at = np.arange(len(shown))
    with report_style():
        canvas = new_canvas(3.0)
        axes = canvas.subplots()
        axes.vlines(at, low, high, color=to_rgba(CONTROL, 0.55), linewidth=7 if not many else 2.0)
        axes.plot(at[inside], observed[inside], "o", color=MODEL, markersize=3.2)
        axes.plot(
            at[~inside],
            observed[~inside],
            "D",
            color=INK,
            markersize=4.2,
            markerfacecolor=PAPER,
        )
        if many:
            axes.set_xticks([])
            axes.set_xlabel(f"{len(shown):,} statistics, in the order of their expectation")
        else:
            axes.set_xticks(at, shown["term"].to_list())
            axes.set_xlim(-0.6, len(shown) - 0.4)
        axes.set_ylabel(label)
        axes.yaxis.set_major_formatter(tick_number)
        horizontal_grid(axes)
    caption = caption or (
        f"{label[0].upper()}{label[1:]}: as observed (blue; a diamond where outside) and the range "
        "of replicated data sets (grey)."
    )
    behind = shown[["term", "estimate", "ci_low", "ci_high", "p_value"]].reset_index(drop=True)
    return Figure(name, caption, canvas, behind, description, themed=True)


def fit_history(
    histories: Sequence[ArrayLike], *, best: int = 0, name: str = "history", caption: str = ""
) -> Figure:
    """Draw log-evidence per token along the iterations of each restart or chain.

    Parameters
    ----------
    histories
        One array each, in nats.
    best
        The one that is drawn in front.
    """
    curves = [np.asarray(own, np.float64) for own in histories]
    if not curves or not all(map(len, curves)):
        raise InputError("fit_history: there is no iteration to draw.")
    with report_style():
        canvas = new_canvas(2.8)
        axes = canvas.subplots()
        for place in sorted(range(len(curves)), key=lambda i: i == best):
            own = curves[place]
            is_best = place == best
            axes.plot(
                np.arange(1, len(own) + 1),
                own,
                color=MODEL if is_best else CONTROL,
                linestyle="-" if is_best else (0, (4, 2)),
                marker="o" if len(own) == 1 else None,
                linewidth=1.8 if is_best else 1.1,
            )
        axes.set_xlabel("iteration")
        axes.set_ylabel("log-evidence per token (nats)")
        axes.yaxis.set_major_formatter(tick_number)
        horizontal_grid(axes)
    data = pd.DataFrame(
        {
            "run": [place + 1 for place in range(len(curves))],
            "iterations": [len(own) for own in curves],
            "estimate": [float(own[-1]) for own in curves],
        }
    )
    caption = caption or "Log-evidence per token along the iterations; blue: the run that is kept."
    return Figure(name, caption, canvas, data, themed=True)


def reliability_curves(
    curves: Mapping[str, NDArray[np.float64]],
    *,
    model: str,
    name: str = "reliability",
    caption: str = "",
) -> Figure:
    """Draw how often the most probable value was right against how probable it was said to be.

    Parameters
    ----------
    curves
        By name, shape (n_bins, 3): share of the contexts, mean confidence, accuracy.
    model
        The curve that is drawn solid.
    """
    with report_style():
        canvas = new_canvas(4.4)
        axes = canvas.subplots()
        lowest = min(float(points[:, 1:].min()) for points in curves.values())
        start = max(0.0, lowest - 0.05)
        axes.plot([start, 1], [start, 1], color=SOFT_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for label, points in curves.items():
            is_model = label == model
            colour = MODEL if is_model else CONTROL
            axes.plot(
                points[:, 1],
                points[:, 2],
                color=colour,
                linestyle="-" if is_model else (0, (4, 2)),
                marker="o",
                markersize=5,
                markerfacecolor=colour if is_model else PAPER,
                label=label,
            )
        axes.set_xlabel("probability of the most probable value")
        axes.set_ylabel("how often it was right")
        axes.set_xlim(start, 1.01)
        axes.set_ylim(start, 1.01)
        axes.set_aspect("equal")
        axes.legend(loc="upper left", fontsize=TICK_SIZE)
        axes.xaxis.set_major_formatter(tick_number)
        axes.yaxis.set_major_formatter(tick_number)
        horizontal_grid(axes)
    data = pd.concat(
        [
            pd.DataFrame(points, columns=["share", "confidence", "accuracy"]).assign(of=label)
            for label, points in curves.items()
        ],
        ignore_index=True,
    )
    caption = caption or "Reliability: on the dashed diagonal, probabilities mean what they say."
    return Figure(
        name, caption, canvas, data[["of", "share", "confidence", "accuracy"]], themed=True
    )


def criterion_curve(
    results: pd.DataFrame, *, label: str, axis: str, name: str, caption: str = ""
) -> Figure:
    """Draw differences from the best model along an ordered choice, a mark for each criterion.

    Parameters
    ----------
    results
        Rows with ``criterion`` (the first is drawn solid), ``term`` (the choice, a number),
        ``estimate, ci_low, ci_high``.
    label, axis
        Of the vertical and the horizontal axis.
    """
    criteria = list(dict.fromkeys(results["criterion"]))
    with report_style():
        canvas = new_canvas(3.2)
        axes = canvas.subplots()
        for place, criterion in enumerate(criteria):
            own = results[results["criterion"] == criterion].sort_values("term")
            is_first = place == 0
            at = own["term"].to_numpy(np.float64) + 0.06 * place
            colour = MODEL if is_first else CONTROL
            axes.plot(at, own["estimate"], color=colour, linestyle="-" if is_first else (0, (4, 2)))
            whiskers(axes, at, own, is_model=is_first)
        axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xticks(sorted(set(results["term"])))
        axes.set_xlabel(axis)
        axes.set_ylabel(label)
        axes.yaxis.set_major_formatter(tick_number)
        horizontal_grid(axes)
        handles = [legend_handle(is_model=place == 0, line=True) for place in range(len(criteria))]
        canvas.legend(handles, criteria, loc="outside upper right", ncols=len(criteria))
    return Figure(name, caption, canvas, results.reset_index(drop=True), themed=True)
