"""The drawings of a report, each made from the tidy results or arrays that it shows.

Rows of the tidy frames carry in ``control`` which regressor or network they speak of; the row of
the model itself has the control named by the argument ``model`` (empty unless said otherwise).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike, NDArray

from concept_ppl.errors import InputError
from concept_ppl.formatting import interval
from concept_ppl.result_columns import COUNT_COLUMNS, NUMBER_COLUMNS, TEXT_COLUMNS

from .marks import (
    cloud,
    curve,
    forest,
    label_sites,
    legend_handle,
    site_positions,
    tick_number,
    unit_axis,
    whiskers,
)
from .palette import (
    INK,
    MODEL,
    SOFT_INK,
    TICK_SIZE,
    WIDTH,
    horizontal_grid,
    new_canvas,
    report_style,
)
from .parts import Figure

_BEHIND: Final = (
    "quantity",
    "term",
    "layer",
    "control",
    "estimate",
    "ci_low",
    "ci_high",
    "ci_level",
    "n",
)


def layer_curve(
    results: pd.DataFrame,
    *,
    quantities: Mapping[str, str],
    model: str = "",
    reference: str = "random weights",
    labels: tuple[str, str] | None = None,
    axis: str = "layer",
    name: str = "layer_curve",
    caption: str = "",
    description: str = "",
) -> Figure:
    """Draw quantities between 0 and 1 against the layer, one panel each, with bands for intervals.

    Parameters
    ----------
    results
        Rows with ``quantity, layer, control, estimate, ci_low, ci_high``, layers in their order.
    quantities
        Which quantities to draw, from the top, and the title of each panel.
    model, reference
        The ``control`` of the model's rows, drawn solid, and of the rows drawn muted beside it.
    labels
        What the legend calls the two; "trained model" and the reference by default.
    axis
        What the layers are numbered by.

    Raises
    ------
    InputError
        If a column is missing or a quantity has no row for the model.
    """
    rows = _rows(results, ("quantity", "layer", "control", "estimate", "ci_low", "ci_high"))
    rows = rows[rows["quantity"].isin(list(quantities)) & rows["control"].isin([model, reference])]
    sites = list(dict.fromkeys(rows.sort_values("control", key=lambda c: c != model)["layer"]))
    places = dict(zip(sites, site_positions(sites), strict=True))
    with report_style():
        canvas = new_canvas(0.6 + 2.1 * len(quantities))
        panels = canvas.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (quantity, title) in zip(panels, quantities.items(), strict=True):
            shown = rows[rows["quantity"] == quantity]
            ours = shown[shown["control"] == model]
            if ours.empty:
                raise InputError(f"layer_curve: no row of quantity {quantity!r} for the model.")
            other = shown[shown["control"] != model]
            if not other.empty:
                curve(axes, places, other, is_model=False)
            curve(axes, places, ours, is_model=True)
            axes.set_title(title)
            unit_axis(axes, shown)
            horizontal_grid(axes)
        label_sites(panels[-1], places, axis)
        if (rows["control"] == reference).any():
            handles = [legend_handle(is_model=m, line=True) for m in (True, False)]
            words = labels or ("trained model", reference)
            canvas.legend(handles, list(words), loc="outside upper right", ncols=2)
    caption = caption or f"{', '.join(quantities.values())} by layer. Bands: intervals."
    return Figure(name, caption, canvas, _behind(rows), description, themed=True)


def decoded_scatter(
    true: ArrayLike,
    decoded: ArrayLike,
    contrasts: Sequence[str],
    *,
    r2: pd.DataFrame | None = None,
    columns: int = 2,
    x_label: str = "true log-odds (nats)",
    name: str = "decoded_scatter",
    caption: str = "",
    description: str = "",
) -> Figure:
    """Draw held-out decoded against true log-odds, a panel for each contrast, all on one scale.

    Parameters
    ----------
    true, decoded
        Log-odds in nats, both (n_contexts, n_contrasts) and finite.
    contrasts
        Their names.
    r2
        Rows with ``term`` (the contrast), ``estimate, ci_low, ci_high``, for the titles.
    columns
        Panels beside each other.
    x_label
        What ``true`` is called on the axis.

    Raises
    ------
    InputError
        If the shapes disagree or a value is not finite.
    """
    x, y = _matrix(true, "true"), _matrix(decoded, "decoded")
    if x.shape != y.shape or x.shape[1] != len(contrasts):
        raise InputError(
            f"decoded_scatter: true is {x.shape}, decoded {y.shape}, for {len(contrasts)} names."
        )
    rows = None if r2 is None else _rows(r2, ("term", "estimate", "ci_low", "ci_high"))
    n_rows = -(-len(contrasts) // columns)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.04 * (high - low or 1.0)
    limits = (low - margin, high + margin)
    with report_style():
        canvas = new_canvas(0.4 + n_rows * (WIDTH / columns + 0.25))
        panels = canvas.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
        for index, axes in enumerate(panels.flat):
            if index >= len(contrasts):
                axes.set_visible(False)
                continue
            cloud(axes, x[:, index], y[:, index], limits)
            axes.set_title(_scatter_title(contrasts[index], rows), fontsize=TICK_SIZE)
            if index + columns >= len(contrasts):
                axes.tick_params(labelbottom=True)
        canvas.supxlabel(x_label, fontsize=TICK_SIZE, color=INK)
        canvas.supylabel("decoded log-odds, held out (nats)", fontsize=TICK_SIZE, color=INK)
    caption = caption or (
        f"Held-out decoded against true log-odds of {len(x):,} contexts; the stronger the colour, "
        "the more of them. Dashed: decoded = true."
    )
    return Figure(
        name, caption, canvas, None if rows is None else _behind(rows), description, themed=True
    )


def canonical_bars(
    results: pd.DataFrame,
    *,
    model: str = "",
    reference: str | None = None,
    label: str = "held-out ρ²",
    direction: str = "canonical direction",
    name: str = "canonical_bars",
    caption: str = "",
    description: str = "",
) -> Figure:
    """Draw the squared canonical correlation of each direction with its interval.

    Parameters
    ----------
    results
        Rows with ``term`` (the direction), ``control, estimate, ci_low, ci_high``, one layer only.
    model, reference
        The ``control`` of the model's rows, drawn as bars, and of rows drawn beside them.
    label, direction
        Of the axes.

    Raises
    ------
    InputError
        If a column is missing, the model has no row, or a direction appears twice.
    """
    rows = _rows(results, ("term", "control", "estimate", "ci_low", "ci_high"))
    ours = rows[rows["control"] == model]
    if ours.empty or ours["term"].duplicated().any():
        raise InputError("canonical_bars: the model needs one row for each direction.")
    places = {term: place for place, term in enumerate(ours["term"])}
    other = rows[rows["control"] == reference] if reference else rows.iloc[:0]
    other = other[other["term"].isin(list(places))]
    shift = 0.0 if other.empty else 0.12
    with report_style():
        canvas = new_canvas(3.0)
        axes = canvas.subplots()
        at = np.arange(len(ours), dtype=np.float64) - shift
        axes.bar(at, ours["estimate"], width=0.34, color=to_rgba(MODEL, 0.3))
        whiskers(axes, at, ours, is_model=True)
        if not other.empty:
            beside = np.array([places[term] for term in other["term"]]) + 2.2 * shift
            whiskers(axes, beside, other, is_model=False)
            handles = [legend_handle(is_model=m, line=False) for m in (True, False)]
            canvas.legend(handles, ["model", str(reference)], loc="outside upper right", ncols=2)
        axes.axhline(1.0, color=SOFT_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xticks(range(len(places)), list(places))
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel(direction)
        axes.set_ylabel(label)
        unit_axis(axes, pd.concat([ours, other]))
        horizontal_grid(axes)
        axes.spines["bottom"].set_visible(False)
        axes.axhline(0.0, color=SOFT_INK, linewidth=0.8)
    caption = caption or "Squared canonical correlations, held out; all 1 means invertible."
    return Figure(
        name, caption, canvas, _behind(pd.concat([ours, other])), description, themed=True
    )


def power_profile(
    profile: pd.DataFrame,
    alpha: tuple[float, float, float],
    *,
    label: str = "held-out R²",
    name: str = "power_profile",
    caption: str = "",
    description: str = "",
) -> Figure:
    """Draw a held-out fit along the path from log p (power 0) to p (power 1), and the best power.

    Parameters
    ----------
    profile
        Rows with ``term`` (the power), ``estimate, ci_low, ci_high``, in ascending order.
    alpha
        The best power and the ends of its interval.
    label
        Of the vertical axis.

    Raises
    ------
    InputError
        If a column is missing or there is no row.
    """
    rows = _rows(profile, ("term", "estimate", "ci_low", "ci_high"))
    if rows.empty:
        raise InputError("power_profile: there is no power to draw.")
    powers = rows["term"].to_numpy(np.float64)
    with report_style():
        canvas = new_canvas(3.0)
        axes = canvas.subplots()
        axes.axvspan(alpha[1], alpha[2], color=to_rgba(MODEL, 0.18), linewidth=0)
        axes.axvline(alpha[0], color=MODEL, linewidth=1.4)
        axes.plot(powers, rows["estimate"], color=SOFT_INK, linewidth=0.9, zorder=1)
        whiskers(axes, powers, rows, is_model=False)
        ends = {0.0: "0\nlog p", 1.0: "1\np"}
        ticks = sorted({*ends, *(float(p) for p in powers if abs(p * 2 - round(p * 2)) < 1e-9)})
        axes.set_xticks(ticks, [ends.get(tick, f"{tick:g}") for tick in ticks])
        axes.set_xlabel("power α")
        axes.set_ylabel(label)
        axes.yaxis.set_major_formatter(tick_number)
        horizontal_grid(axes)
    caption = caption or "Held-out fit by the power of p; band: the best power with its interval."
    return Figure(name, caption, canvas, _behind(rows), description, themed=True)


def control_forest(
    levels: pd.DataFrame,
    differences: pd.DataFrame | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    model: str = "",
    levels_title: str = "Held-out R²",
    differences_title: str = "Differences",
    name: str = "control_forest",
    caption: str = "",
    description: str = "",
) -> Figure:
    """Draw the headline estimate with its controls beside it, then differences against zero.

    Parameters
    ----------
    levels
        Rows with ``control, estimate, ci_low, ci_high``, one for the model and for each control.
    differences
        Rows with ``quantity, estimate, ci_low, ci_high``, such as the paired difference from the
        best control and the increment over it.
    labels
        What to print for a control or quantity in place of its name; ``model`` names the model's.

    Raises
    ------
    InputError
        If a column is missing or the model has no row.
    """
    words = {model: "model", **(labels or {})}
    upper = _rows(levels, ("control", "estimate", "ci_low", "ci_high"))
    if not (upper["control"] == model).any():
        raise InputError("control_forest: no row for the model among the levels.")
    upper = upper.sort_values("control", key=lambda names: names != model, kind="stable")
    lower = upper.iloc[:0] if differences is None else _rows(differences, ("quantity", "estimate"))
    sizes = [len(upper) + 1.0, *([len(lower) + 1.2] if len(lower) else [])]
    with report_style():
        canvas = new_canvas(0.5 * sum(sizes) + 0.25)
        panels = canvas.subplots(len(sizes), 1, height_ratios=sizes, squeeze=False)[:, 0]
        is_model = (upper["control"] == model).to_list()
        forest(panels[0], upper, [words.get(c, c) for c in upper["control"]], is_model)
        unit_axis(panels[0], upper, horizontal=True)
        panels[0].set_title(levels_title)
        if len(lower):
            names = [words.get(q, q) for q in lower["quantity"]]
            forest(panels[1], lower, names, [True] * len(lower))
            panels[1].axvline(0.0, color=INK, linewidth=1.1)
            panels[1].locator_params(axis="x", nbins=5)
            panels[1].set_title(differences_title)
        for axes in panels:
            axes.xaxis.set_major_formatter(tick_number)
    caption = caption or "The model beside its controls, with intervals."
    behind = _behind(pd.concat([upper, lower]))
    return Figure(name, caption, canvas, behind, description, themed=True)


def _rows(frame: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    """Take the tidy columns that a drawing can use, text as text and numbers as numbers."""
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise InputError(f"a figure needs the column {', '.join(missing)} in its frame.")
    rows = pd.DataFrame(index=range(len(frame)))
    for column in TEXT_COLUMNS:
        if column in frame.columns:
            rows[column] = ["" if pd.isna(cell) else str(cell) for cell in frame[column]]
    for column in (*NUMBER_COLUMNS, *COUNT_COLUMNS):
        if column in frame.columns:
            rows[column] = pd.to_numeric(frame[column]).to_numpy(np.float64, na_value=np.nan)
    return rows


def _behind(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the columns that a reader of the figure would want to see as numbers."""
    return rows[[column for column in _BEHIND if column in rows.columns]].reset_index(drop=True)


def _matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(f"decoded_scatter: {name} has shape {matrix.shape}; it must be a table.")
    broken = np.argwhere(~np.isfinite(matrix))
    if broken.size:
        row, column = broken[0]
        raise InputError(f"decoded_scatter: {name} is not finite in row {row}, column {column}.")
    return matrix


def _scatter_title(contrast: str, rows: pd.DataFrame | None) -> str:
    if rows is None or contrast not in set(rows["term"]):
        return contrast
    row = rows[rows["term"] == contrast].iloc[0]
    return f"{contrast}\nR² {interval(row['estimate'], row['ci_low'], row['ci_high'])}"
