"""How a number reads on the page: one way for estimates, intervals, p-values and counts."""

import math
from collections.abc import Callable, Hashable
from typing import Final, Literal

import numpy as np
import pandas as pd

MINUS: Final = "\u2212"
MISSING: Final = "–"

Format = Literal["estimate", "integer", "p_value", "text"]
"""Names of the formats that a column of a table can ask for."""


def number(value: float, decimals: int = 3) -> str:
    """Write a number with fixed decimals, a true minus sign and thousands separators.

    A number that would round to zero but is not zero is written in scientific notation, and NaN as
    a dash.

    Examples
    --------
    >>> number(-0.1234), number(12345.678, 1), number(0.0), number(2.5e-7)
    ('−0.123', '12,345.7', '0.000', '2.5e−07')
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    vanishes = value != 0 and abs(value) < 0.5 * 10.0**-decimals
    text = f"{value:.1e}" if vanishes or abs(value) >= 1e9 else _fixed(value, decimals)
    return text.replace("-", MINUS)


def interval(estimate: float, low: float, high: float, decimals: int = 3) -> str:
    """Write an estimate with its interval, ``0.823 [0.801, 0.844]``; without one, the estimate.

    One end may be NaN, as in a one-sided interval; it is written as a dash.
    """
    centre, *ends = (
        _fixed(x, decimals).replace("-", MINUS) if math.isfinite(x) else number(x)
        for x in (estimate, low, high)
    )
    if math.isnan(low) and math.isnan(high):
        return centre
    return f"{centre} [{ends[0]}, {ends[1]}]"


def p_value(value: float, *, symbol: bool = False) -> str:
    """Write a p-value with three decimals and no leading zero: ``.032``, ``< .001``, ``> .999``.

    Parameters
    ----------
    value
        A probability, or NaN for a missing one.
    symbol
        Put ``p`` and the relation in front, for use in a sentence: ``p = .032``, ``p < .001``.
    """
    if math.isnan(value):
        return MISSING
    if value < 0.001:
        relation, digits = "<", ".001"
    elif value > 0.999:
        relation, digits = ">", ".999"
    else:
        relation, digits = "=", f"{value:.3f}".removeprefix("0")
    if symbol:
        return f"p {relation} {digits}"
    return digits if relation == "=" else f"{relation} {digits}"


def integer(value: float) -> str:
    """Write a count with thousands separators; NaN as a dash."""
    return MISSING if math.isnan(value) else f"{value:,.0f}".replace("-", MINUS)


def text(value: object) -> str:
    """Write any other cell as it is; a missing one as an empty cell."""
    return "" if is_missing(value) else str(value)


def is_missing(value: object) -> bool:
    """Whether a cell holds None, NaN or pandas' NA."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def column_format(values: pd.Series, name: Hashable) -> Format:
    """Choose how a column reads from its name and type when the table does not say."""
    if name in {"p_value", "p_adjusted", "p"}:
        return "p_value"
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return "text"
    if pd.api.types.is_integer_dtype(values) or name in {"n", "n_clusters"}:
        return "integer"
    return "estimate"


def write(value: object, how: str) -> str:
    """Write one cell by the name of a format or by a format specification such as ``.1f``."""
    if how == "text" or isinstance(value, str):
        return text(value)
    amount = math.nan if is_missing(value) else float(np.float64(value))  # type: ignore[arg-type]
    named: dict[str, Callable[[float], str]] = {
        "estimate": number,
        "integer": integer,
        "p_value": p_value,
    }
    if how in named:
        return named[how](amount)
    return MISSING if math.isnan(amount) else format(amount, how).replace("-", MINUS)


def _fixed(value: float, decimals: int) -> str:
    written = f"{value:,.{decimals}f}"
    is_zero = not written.strip("-0.,")
    return written.removeprefix("-") if is_zero else written
