"""How every analysis reports a number: one estimate with its interval, one row of a tidy table."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from concept_ppl.formatting import MINUS, in_words, p_value
from concept_ppl.result_columns import RESULT_COLUMNS


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its interval and the size of the sample behind it.

    Attributes
    ----------
    estimate, std_error
        Point estimate and its standard error, both on the scale that is reported.
    ci_low, ci_high, ci_level
        Two-sided interval and its confidence level, a probability; of a one-sided bound the other
        end is NaN.
    p_value
        Of the null that the analysis names in its docstring; NaN where it states none.
    n, n_clusters
        Rows, and independent units among them.
    df
        Degrees of freedom of Student's quantiles; None for ``n_clusters − 1``.
    """

    estimate: float
    std_error: float
    ci_low: float
    ci_high: float
    ci_level: float
    p_value: float
    n: int
    n_clusters: int
    df: float | None = None

    def __str__(self) -> str:
        """Print the estimate and its interval as a report does."""
        written = in_words(self.estimate, self.ci_low, self.ci_high, self.ci_level)
        if math.isnan(self.p_value):
            return written
        test = p_value(self.p_value, symbol=True)
        return f"{written[:-1]}, {test})" if written.endswith(")") else f"{written} ({test})"


SIGNED = "below 0, since the held-out correlation is"


def square_in_words(value: Estimate) -> str:
    """Write a held-out squared correlation, −ρ² where ρ is below zero, and say so where it is."""
    written = str(value)
    return f"{written}, {SIGNED}" if written.startswith(MINUS) else written


@dataclass(frozen=True, slots=True)
class Row:
    """An estimate and what it is an estimate of: one row of a tidy table."""

    analysis: str
    quantity: str
    term: str
    value: Estimate
    layer: str = ""
    control: str = ""


def bare_estimate(value: float, level: float, n: int, n_units: int) -> Estimate:
    """Return a description: a number without interval or test."""
    nan = float("nan")
    return Estimate(value, nan, nan, nan, level, nan, n, n_units)


def result_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the rows as a table with exactly the columns ``RESULT_COLUMNS``.

    Parameters
    ----------
    rows
        One row an estimate, in the order in which the table is to list them.
    """
    records = [
        (
            row.analysis,
            row.quantity,
            row.term,
            row.layer,
            row.control,
            row.value.estimate,
            row.value.std_error,
            row.value.ci_low,
            row.value.ci_high,
            row.value.ci_level,
            row.value.p_value,
            row.value.n,
            row.value.n_clusters,
        )
        for row in rows
    ]
    return pd.DataFrame.from_records(records, columns=list(RESULT_COLUMNS))
