"""The one way in which analyses draw estimates with their intervals: a forest plot."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from .rows import Estimate


def forest_plot(entries: Sequence[tuple[str, Estimate]], label: str) -> Figure:
    """Draw one line an estimate, the first on top, with its interval.

    Parameters
    ----------
    entries
        Name and estimate of each line.
    label
        What the horizontal axis measures.
    """
    figure = Figure(figsize=(6.4, 0.9 + 0.36 * len(entries)), layout="constrained")
    axes = figure.add_subplot()
    for position, (_, value) in enumerate(entries):
        axes.plot([value.ci_low, value.ci_high], [position, position], color="#4477aa", lw=2)
        axes.plot([value.estimate], [position], "o", color="#223355")
    axes.axvline(0.0, color="0.7", lw=0.8, zorder=0)
    axes.set_yticks(range(len(entries)), [name for name, _ in entries])
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_xlabel(label)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure
