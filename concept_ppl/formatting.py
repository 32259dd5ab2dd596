"""How a number reads on the page: one way for estimates, intervals, p-values and counts."""

import math
from collections.abc import Callable, Hashable
from typing import Final, Literal

import numpy as np
import pandas as pd

MINUS: Final = "\u2212"
MISSING: Final = "–"
MOST_DECIMALS: Final = 8
"""Beyond it, ends that agree are written alike, and what is smaller in scientific notation."""
LEAST_P_VALUE: Final = 0.001
"""The floor of p-values wherever one is written: no approximation tells smaller ones apart."""

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

    All three share their precision: as many decimals as it takes to tell the ends apart, none where
    they are counts. Where one end is NaN the other is a bound: ``0.991 [≥ 0.987]``.

    Examples
    --------
    >>> interval(-4.7e-5, -6.1e-5, -3.3e-5), interval(167, 144, 192)
    ('−0.000047 [−0.000061, −0.000033]', '167 [144, 192]')
    """
    centre, *ends = _alike((estimate, low, high), decimals)
    if math.isnan(low) and math.isnan(high):
        return centre
    if math.isnan(high):
        return f"{centre} [≥ {ends[0]}]"
    if math.isnan(low):
        return f"{centre} [≤ {ends[1]}]"
    return f"{centre} [{ends[0]}, {ends[1]}]"


def in_words(estimate: float, low: float, high: float, level: float, decimals: int = 3) -> str:
    """Write an estimate for a line of text: ``0.823 (95% CI 0.801 to 0.844)``; see `interval`."""
    centre, *ends = _alike((estimate, low, high), decimals)
    if math.isnan(low) and math.isnan(high):
        return centre
    if math.isnan(high):
        return f"{centre} ({100 * level:g}% bound ≥ {ends[0]})"
    if math.isnan(low):
        return f"{centre} ({100 * level:g}% bound ≤ {ends[1]})"
    return f"{centre} ({100 * level:g}% CI {ends[0]} to {ends[1]})"


def decimals_of(quantity: object, decimals: int = 3) -> int:
    """Return how many decimals a quantity of the tidy table has: none where it counts, ``n_…``."""
    return 0 if str(quantity).startswith("n_") else decimals


def _alike(values: tuple[float, float, float], decimals: int) -> list[str]:
    """Write an estimate and the ends of its interval with the same precision."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return [number(value, _decimals_of(finite, decimals)) for value in values]
    ends = [value for value in values[1:] if math.isfinite(value)]
    needed = _decimals_of(finite, decimals)
    if len(ends) == 2 and ends[0] != ends[1]:
        if _fixed(ends[0], needed) == _fixed(ends[1], needed):
            needed = math.ceil(-math.log10(abs(ends[1] - ends[0]))) + 1
        if needed > MOST_DECIMALS and max(map(abs, finite)) < 10.0 ** -(decimals + 1):
            return [f"{value:.1e}".replace("-", MINUS) for value in values]
        if needed > MOST_DECIMALS:
            needed = decimals
    return [
        _fixed(value, needed).replace("-", MINUS) if math.isfinite(value) else number(value)
        for value in values
    ]


def _decimals_of(values: list[float], decimals: int) -> int:
    """Return 0 where all are whole numbers and one is more than 1: counts. Else ``decimals``."""
    whole = all(value >= 0 and value == round(value) for value in values)
    is_count = whole and max(map(abs, values), default=0.0) > 1
    return 0 if is_count else decimals


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
    if value < LEAST_P_VALUE:
        relation, digits = "<", f"{LEAST_P_VALUE:g}".removeprefix("0")
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
