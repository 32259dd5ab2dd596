"""What every answer can do: an analysis writes its rows, its lines and its panel."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from .figures import Panel
from .rows import Row, result_frame
from .tables import html_table, latex_table, markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Result(ABC):
    """The answer of an analysis: numbers and labels, never the data they come from.

    An analysis returns a frozen dataclass of this kind, and writes `title`, `rows`, `lines` and
    `panel`. Two more may be written: `headline`, where the first line of the summary says more
    than the title, and `beside`, where another answer stands beside this one.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def title(self) -> str:
        """What was asked: the caption of tables and the head of the summary."""

    @abstractmethod
    def rows(self) -> Iterable[Row]:
        """Yield one row a number, in the order of the tidy table."""

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """Yield the lines of the summary below its first."""

    @abstractmethod
    def panel(self) -> Panel:
        """Return the figure of the answer, not yet drawn."""

    @property
    def headline(self) -> str:
        """The first line of the summary: the title, and the verdict where there is one."""
        return self.title

    def beside(self) -> "tuple[Result, ...]":
        """Answers whose rows and summaries follow this one's, such as the controls."""
        return ()

    def printed(self) -> pd.DataFrame:
        """Return what tables for readers hold: the tidy table, or the part that fits a page."""
        return self.tidy()

    def tidy(self) -> pd.DataFrame:
        """Return a table with the columns ``RESULT_COLUMNS``, a row a number; see `rows`."""
        return result_frame([*self.rows(), *(row for part in self.beside() for row in part.rows())])

    def summary(self) -> str:
        """Return the answer in words and numbers, a line each."""
        parts = (part.summary() for part in self.beside())
        return "\n".join([self.headline, *self.lines(), *parts])

    def to_latex(self, label: str = "") -> str:
        """Return the tidy table as a booktabs ``table``; ``label`` is what the text refers to."""
        return latex_table(self.printed(), self.title, label)

    def to_markdown(self) -> str:
        """Return the tidy table as a Markdown table, its numbers as a reader writes them."""
        return markdown_table(self.printed())

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Draw the answer in one panel; see `panel`.

        Parameters
        ----------
        ax
            Axes to draw into; a new figure if None.

        Returns
        -------
        figure
            The new figure, or the one that ``ax`` is part of, as plots of statsmodels do.
        """
        return self.panel().show(ax)

    def _repr_html_(self) -> str:
        return html_table(self.printed(), self.headline)
