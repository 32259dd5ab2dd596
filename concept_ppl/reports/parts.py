"""What a report is made of before it is a page: text, numbers and drawings.

All text is plain: it is escaped on the page, a blank line starts a new paragraph, and `backticks`
mark code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure as Canvas

Tone = Literal["supported", "partly", "not supported", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer in one sentence, which carries its interval, and how firmly it is given.

    Attributes
    ----------
    sentence
        The answer, with its estimate and interval in the text (see ``interval``).
    tone
        Whether the numbers support the claim that the question asks about; ``partly`` where they
        do under conditions that the sentence names, and not elsewhere.
    remark
        What the reader must know before believing or repeating the sentence.
    """

    sentence: str
    tone: Tone
    remark: str = ""


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A number worth seeing first, with its interval and what it means.

    Attributes
    ----------
    label
        What was estimated.
    estimate, ci_low, ci_high
        The number and its interval; NaN ends for a number that has none.
    note
        A few words below the number.
    decimals
        How many to show.
    is_p_value
        Whether it is a p-value, written as all of them are.
    """

    label: str
    estimate: float
    ci_low: float = float("nan")
    ci_high: float = float("nan")
    note: str = ""
    decimals: int = 3
    is_p_value: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A drawing, what it shows in words, and the numbers behind it.

    Attributes
    ----------
    name
        Of the file ``figures/<name>.svg``: lower-case letters, digits, ``-`` and ``_``.
    caption
        Printed below the drawing.
    drawing
        A matplotlib figure (made without pyplot) or the text of an SVG.
    data
        The numbers that the drawing shows, printed as a table that opens on demand.
    description
        What a reader who cannot see the drawing should be told; the caption where empty.
    themed
        Drawn in the package's own style, so that its colours follow the page's theme. Others are
        shown on a light card.
    """

    name: str
    caption: str
    drawing: Canvas | str
    data: pd.DataFrame | None = None
    description: str = ""
    themed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A data frame with a caption.

    Columns ``estimate``, ``ci_low`` and ``ci_high`` are printed as one, ``0.823 [0.801, 0.844]``,
    and columns without a value are left out.

    Attributes
    ----------
    caption
        Printed above the table.
    frame
        Its columns and rows; the index is not printed.
    formats
        By column: ``"estimate"``, ``"integer"``, ``"p_value"``, ``"text"`` or a format
        specification such as ``".1f"``. Chosen by name and type where not given.
    headings
        By column: what stands in the head in place of the column's name.
    note
        Printed below.
    """

    caption: str
    frame: pd.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    headings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A heading, text below it, then figures and tables in this order."""

    heading: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything a report folder is written from.

    Attributes
    ----------
    title
        Short, for the window and the line above the question.
    question
        The headline.
    verdict
        The answer.
    sections
        In the order of the page.
    results
        Every number, as a tidy frame with the columns ``RESULT_COLUMNS``.
    manifest
        From ``build_manifest``.
    key_figures
        A handful for the strip below the verdict.
    methods
        How the numbers came about; printed after the sections.
    """

    title: str
    question: str
    verdict: Verdict
    sections: Sequence[Section]
    results: pd.DataFrame
    manifest: Mapping[str, Any]
    key_figures: Sequence[KeyFigure] = ()
    methods: Section | None = None
