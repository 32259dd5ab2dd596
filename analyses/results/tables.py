"""How a result reads in a paper or a notebook: estimate, interval and p-value, a line each."""

import math
from collections.abc import Iterable
from html import escape as escape_html

import pandas as pd

from concept_ppl.formatting import decimals_of, integer, interval, p_value

from .rows import Row, result_frame

LABELS = ("analysis", "quantity", "term", "layer", "control")

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        "\u2212": r"$-$",
        "∞": r"$\infty$",
        "ρ": r"$\rho$",
        "λ": r"$\lambda$",
        "²": r"\textsuperscript{2}",
        "|": r"$|$",
    }
)


MOST_LINES = 40
"""Lines of a table that a notebook shows; all of them are in the tidy table."""


def latex_table(table: pd.DataFrame | Iterable[Row], caption: str, label: str = "") -> str:
    """Write a tidy table as a LaTeX ``table`` for the package booktabs, a line an estimate.

    Parameters
    ----------
    table
        With the columns ``RESULT_COLUMNS``, or the rows of one. Labels that are the same in every
        row are left out; numbers read as in a report.
    caption
        Plain text; it is escaped.
    label
        By which the text refers to the table; none if empty.
    """
    n_labels, cells = _readable(table)
    body = [" & ".join(map(escape, line)) + r" \\" for line in cells]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            *([rf"\label{{{label}}}"] if label else []),
            rf"\begin{{tabular}}{{{'l' * n_labels}{'r' * 4}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def markdown_table(table: pd.DataFrame | Iterable[Row]) -> str:
    """Write a tidy table in Markdown, labels on the left and numbers on the right."""
    n_labels, (head, *lines) = _readable(table)
    rule = [*(["---"] * n_labels), *(["---:"] * (len(head) - n_labels))]
    rows = ([cell.replace("|", r"\|") for cell in line] for line in (head, rule, *lines))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def html_table(table: pd.DataFrame | Iterable[Row], caption: str) -> str:
    """Write the first lines of a tidy table for a notebook, under its caption."""
    _, (head, *lines) = _readable(table)
    top = "".join(f"<th>{escape_html(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape_html(cell)}</td>' for cell in line)}</tr>"
        for line in lines[:MOST_LINES]
    )
    rest = len(lines) - MOST_LINES
    more = f"<p>… and {rest:,} more, in <code>tidy()</code>.</p>" if rest > 0 else ""
    return (
        f"<table><caption>{escape_html(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table>{more}"
    )


def _readable(table: pd.DataFrame | Iterable[Row]) -> tuple[int, list[list[str]]]:
    """Return how many columns are labels, then the head and the lines, cell by cell."""
    frame = table if isinstance(table, pd.DataFrame) else result_frame(table)
    labels = [name for name in LABELS if _tells_apart(frame[name])] or ["quantity"]
    head = [*labels, _interval_head(frame), "p", "n", "clusters"]
    lines = [[*(str(row[name]) for name in labels), *_numbers(row)] for _, row in frame.iterrows()]
    return len(labels), [head, *lines]


def escape(text: str) -> str:
    """Write plain text so that LaTeX prints it as it is."""
    return text.translate(_ESCAPES)


def _numbers(row: pd.Series) -> list[str]:
    return [
        interval(row["estimate"], row["ci_low"], row["ci_high"], decimals_of(row["quantity"])),
        p_value(row["p_value"]),
        integer(row["n"]),
        integer(row["n_clusters"]),
    ]


def _tells_apart(values: pd.Series) -> bool:
    return len(set(values)) > 1


def _interval_head(frame: pd.DataFrame) -> str:
    levels = {level for level in frame["ci_level"] if not math.isnan(level)}
    return f"estimate [{100 * levels.pop():.4g}% CI]" if len(levels) == 1 else "estimate [CI]"
