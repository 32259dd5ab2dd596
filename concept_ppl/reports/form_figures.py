"""The drawing of powers of the posterior: of a model, of its controls, of the best predictor."""

from collections.abc import Sequence

import pandas as pd

from .marks import forest
from .palette import INK, new_canvas, report_style
from .parts import Figure


def power_forest(rows: pd.DataFrame, models: Sequence[str], *, name: str, caption: str) -> Figure:
    """Draw the power α of each thing on one axis, from the log-posterior (0) to the posterior (1).

    Parameters
    ----------
    rows
        Columns ``control, estimate, ci_low, ci_high``; the names are what is printed.
    models
        Which of them are models, drawn solid.
    name, caption
        Of the figure.
    """
    with report_style():
        canvas = new_canvas(0.5 * (len(rows) + 1.4) + 0.25)
        axes = canvas.subplots()
        is_model = [control in models for control in rows["control"]]
        forest(axes, rows, list(rows["control"]), is_model)
        low = min(-0.1, float(rows["ci_low"].min()))
        high = max(1.1, float(rows["ci_high"].max()))
        axes.set_xlim(low - 0.03, high + 0.03)
        axes.set_xticks([0.0, 0.5, 1.0], ["log-posterior, 0", "½", "posterior, 1"])
        for end in (0.0, 1.0):
            axes.axvline(end, color=INK, linewidth=1.1)
        axes.set_title("Power α of the posterior that is followed")
    return Figure(name, caption, canvas, rows.reset_index(drop=True), themed=True)
