"""Curves against a gap: it falls rightwards, a ceiling goes across, steps join a run."""

import numpy as np
import pandas as pd
import pytest

from concept_ppl.errors import InputError
from concept_ppl.reports import GapPanel, gap_curves

SERIES = {"trained": "trained", "twin": "twin", "best": "ceiling"}
PANELS = (GapPanel("R²", "r2"), GapPanel("Power", "alpha", is_share=False))


LOOKS = (
    ("trained", 0, 0.5, 0.1),
    ("trained", 10, 0.6, 0.2),
    ("trained", 20, 0.01, 0.8),
    ("twin", 0, 0.55, 0.0),
    ("best", 0, np.nan, 0.9),
)


def rows():
    return pd.DataFrame(
        [
            {"quantity": quantity, "series": series, "run": 0, "step": step, "gap": gap}
            | {"estimate": value, "ci_low": value - 0.05, "ci_high": value + 0.05}
            for series, step, gap, value in LOOKS
            for quantity in ("r2", "alpha")
        ]
    )


def drawn(frame):
    return gap_curves(
        frame,
        PANELS,
        series=SERIES,
        model="trained",
        ceiling="best",
        axis="gap",
        name="gaps",
        caption="A figure.",
    )


def test_the_gap_falls_to_the_right_and_runs_are_joined_by_steps():
    figure = drawn(rows().sample(frac=1.0, random_state=1))
    axes = figure.drawing.axes[0]
    left, right = axes.get_xlim()
    assert left > 0.6
    assert right < 0.01
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in lines] == [[0.5, 0.6, 0.01]]
    assert any(set(line.get_ydata()) == {0.9} for line in axes.lines)
    assert len(figure.data) == 10
    labels = [text.get_text() for text in figure.drawing.legends[0].get_texts()]
    assert labels == list(SERIES.values())


def test_what_cannot_stand_on_the_axis_is_refused():
    frame = rows()
    with pytest.raises(InputError, match="must be positive"):
        drawn(frame.assign(gap=0.0))
    with pytest.raises(InputError, match="no row of quantity 'alpha'"):
        drawn(frame[frame["quantity"] == "r2"])
