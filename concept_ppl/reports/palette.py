"""How every figure of a report is drawn: a few colours, one family of type, quiet axes.

Five greys and one blue. Nothing is told by colour alone: the model is blue *and* solid, filled and
first; a control is grey *and* hollow or dashed. The colours are plain in the files under
``figures/``; inside the page each becomes a CSS variable, so that figures follow a dark theme.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

MODEL: Final = "#0b62a8"
CONTROL: Final = "#7d8590"
INK: Final = "#1f2429"
SOFT_INK: Final = "#59616b"
RULE: Final = "#d5d9de"
PAPER: Final = "#ffffff"

CSS_VARIABLES: Final = {
    MODEL: "--figure-model",
    CONTROL: "--figure-control",
    INK: "--figure-ink",
    SOFT_INK: "--figure-soft-ink",
    RULE: "--figure-rule",
    PAPER: "--figure-paper",
}

LABEL_SIZE: Final = 11.0
TICK_SIZE: Final = 10.0
WIDTH: Final = 5.2
"""Inches: on a phone of 390 px the page then shows a point as a pixel."""

_RC: Final[dict[Any, Any]] = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT_INK,
    "axes.facecolor": "none",
    "axes.formatter.use_mathtext": False,
    "axes.labelcolor": INK,
    "axes.labelsize": LABEL_SIZE,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": LABEL_SIZE,
    "axes.titleweight": "bold",
    "figure.facecolor": PAPER,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": LABEL_SIZE,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.fontsize": TICK_SIZE,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "path.simplify": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": SOFT_INK,
    "xtick.labelsize": TICK_SIZE,
    "ytick.color": SOFT_INK,
    "ytick.labelsize": TICK_SIZE,
}


@contextmanager
def report_style() -> Iterator[None]:
    """Draw as the report wants it inside this block, whatever the user's matplotlib settings."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_canvas(height: float) -> Canvas:
    """Make an empty figure of the report's width and of a height in inches, without pyplot."""
    return Canvas(figsize=(WIDTH, height), layout="constrained")


def horizontal_grid(axes: Axes) -> None:
    """Draw rules to read heights by, and nothing else."""
    axes.grid(visible=True, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def vertical_grid(axes: Axes) -> None:
    """Draw rules to read positions along the x-axis by, and nothing else."""
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="both", length=0)
    axes.spines["left"].set_visible(False)
