"""Posterior tables: columns ``log_p.<concept>.<value>``, and their contrasts.

A contrast of log-probabilities does not hold the normaliser; raw ``log p`` of every value does, and
it is a nonlinear function of the others.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from concept_ppl.errors import InputError

from .tokens import read_parquet

PREFIX = "log_p."
TOLERANCE = 1e-6


def concept_columns(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return each concept's columns in a posterior table, in order."""
    columns: dict[str, list[str]] = {}
    for name in table.columns:
        if str(name).startswith(PREFIX) and "." in str(name)[len(PREFIX) :]:
            concept = str(name)[len(PREFIX) :].rsplit(".", 1)[0]
            columns.setdefault(concept, []).append(str(name))
    return columns


def value_of(column: str) -> str:
    """Return the value's label in a column name."""
    return column.rsplit(".", 1)[1]


def log_odds(table: pd.DataFrame) -> pd.DataFrame:
    """Return log p(value) − log p(first) per concept, columns ``<concept>.<value>:<first>``."""
    return _contrasts(table, lambda value, first: value - first)


def probabilities(table: pd.DataFrame) -> pd.DataFrame:
    """Return p(value) of all but each concept's first value, named as :func:`log_odds` are."""
    return _contrasts(table, lambda value, _: np.exp(value))


def _contrasts(table: pd.DataFrame, contrast: object) -> pd.DataFrame:
    assert callable(contrast)
    result = {}
    for concept, columns in concept_columns(table).items():
        first = table[columns[0]].to_numpy(np.float64)
        for column in columns[1:]:
            value = table[column].to_numpy(np.float64)
            name = f"{concept}.{value_of(column)}:{value_of(columns[0])}"
            with np.errstate(invalid="ignore"):
                result[name] = contrast(value, first)
            undefined = np.flatnonzero(np.isnan(result[name]))
            if len(undefined):
                raise InputError(
                    f"row {undefined[0]}: {name} has no value, both sides are impossible; take a "
                    f"first value that is always possible."
                )
    if not result:
        raise InputError("the posterior has no concept with two values (columns log_p.…).")
    return pd.DataFrame(result)


def read_posterior(path: str | Path) -> pd.DataFrame:
    """Read a posterior file and check that each concept's probabilities sum to one.

    Raises
    ------
    InputError
        If the file is missing or empty, has no ``log_p.`` columns, one of them does not hold
        numbers, or a row is no distribution.
    """
    table = read_parquet(path).to_pandas()
    columns = concept_columns(table)
    if not columns:
        raise InputError(f"{path} has no columns log_p.<concept>.<value>; it is no posterior file.")
    for concept, names in columns.items():
        _require_numbers(path, table[names])
        values = table[names].to_numpy(np.float64)
        off = ~(np.abs(np.exp(values).sum(1) - 1) < TOLERANCE)
        if off.any():
            row = int(np.argmax(off))
            raise InputError(
                f"{path}, row {row}: p({concept}) sums to {np.exp(values[row]).sum()}, not 1; give "
                f"natural logarithms of all values' probabilities, as `concept-ppl posterior` "
                f"writes them."
            )
    return pd.DataFrame(table)


def _require_numbers(path: str | Path, columns: pd.DataFrame) -> None:
    for name, column in columns.items():
        if not pd.api.types.is_float_dtype(column) and not pd.api.types.is_integer_dtype(column):
            raise InputError(
                f"{path}: column {name} holds {column.dtype}, not numbers; give natural logarithms "
                f"of probabilities, as `concept-ppl posterior` writes them."
            )
