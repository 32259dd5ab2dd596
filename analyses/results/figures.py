"""How analyses draw: a panel that stands alone or in axes of the caller's, mostly a forest plot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .hypotheses import HypothesisTest
from .rows import Estimate

if TYPE_CHECKING:  # matplotlib takes half a second, and most scripts never draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, INK, PURPLE, GREEN = "#4477aa", "#223355", "#aa3377", "#228833"
"""Colours that stay apart for colour-blind readers (Paul Tol, https://sronpersonalpages.nl/~pault)."""
LEAST_DRAWN = 1e-300
"""A p-value of zero has no place on a log scale."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of a figure.

    Attributes
    ----------
    width, height
        Inches, where the panel stands alone.
    draw
        Draws it into given axes.
    """

    width: float
    height: float
    draw: "Callable[[Axes], None]"

    def show(self, ax: "Axes | None" = None) -> "Figure":
        """Draw into ``ax``, or a new figure, and return the figure that holds the axes."""
        if ax is not None:
            self.draw(ax)
            return ax.get_figure(root=True)  # type: ignore[return-value]  # axes always have one
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width, self.height), layout="constrained")
        self.draw(figure.add_subplot())
        return figure


def forest(
    entries: Sequence[tuple[str, Estimate]], label: str, margin: float | None = None
) -> Panel:
    """One line an estimate, the first on top, with its interval.

    Parameters
    ----------
    entries
        Name and estimate of each line.
    label
        What the horizontal axis measures.
    margin
        What a claim must exceed, drawn as a dashed line.
    """

    def draw(axes: "Axes") -> None:
        for position, (_, value) in enumerate(entries):
            axes.plot([value.ci_low, value.ci_high], [position, position], color=BLUE, lw=2)
            axes.plot([value.estimate], [position], "o", color=INK)
        axes.axvline(0.0, color="0.7", lw=0.8, zorder=0)
        if margin is not None:
            axes.axvline(margin, color=PURPLE, lw=1.2, ls="--")
        axes.set_yticks(range(len(entries)), [name for name, _ in entries])
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.spines[["top", "right", "left"]].set_visible(False)

    return Panel(6.4, 0.9 + 0.36 * len(entries), draw)


def p_value_path(tests: Sequence[HypothesisTest], alpha: float, label: str) -> Panel:
    """p-values of a sequence of nulls on a log scale; those that are invalid are left out.

    Parameters
    ----------
    tests
        In the order of the sequence.
    alpha
        Size of the tests, drawn as a line.
    label
        What the nulls are numbered by.
    """
    valid = [(i, max(test.p_value, LEAST_DRAWN)) for i, test in enumerate(tests) if test.is_valid]

    def draw(axes: "Axes") -> None:
        axes.semilogy([i for i, _ in valid], [p for _, p in valid], "o-", color=INK)
        axes.axhline(alpha, color="0.7", lw=0.8)
        axes.set_xticks(range(len(tests)))
        axes.set_xlabel(label)
        axes.set_ylabel("p-value")

    return Panel(4.8, 3.2, draw)
