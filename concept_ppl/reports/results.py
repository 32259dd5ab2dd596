"""The tidy table of results: its columns, and how it is written for other programs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from concept_ppl.errors import InputError
from concept_ppl.result_columns import (
    COUNT_COLUMNS,
    NUMBER_COLUMNS,
    RESULT_COLUMNS,
    TEXT_COLUMNS,
)


def tidy_results(frame: pd.DataFrame) -> pd.DataFrame:
    """Check a table of results and bring it into the one form that is written and drawn.

    Parameters
    ----------
    frame
        A row for each number, with exactly the columns ``RESULT_COLUMNS`` in any order. An empty
        text cell means "does not apply", an empty number "not estimated".

    Returns
    -------
    DataFrame
        Columns in the order of ``RESULT_COLUMNS``: text as str (missing ones empty), numbers as
        float64 (missing ones NaN), counts as Int64 (missing ones NA); rows numbered from 0.

    Raises
    ------
    InputError
        If a column is missing or not one of these, or if a cell is not a finite number.
    """
    columns = list(frame.columns)
    missing = [name for name in RESULT_COLUMNS if name not in columns]
    unknown = [str(name) for name in columns if name not in RESULT_COLUMNS]
    if missing or unknown or len(columns) != len(RESULT_COLUMNS):
        raise InputError(
            f"results must have exactly the columns {', '.join(RESULT_COLUMNS)}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}."
        )
    tidy = pd.DataFrame({name: _text(frame[name]) for name in TEXT_COLUMNS})
    for name in NUMBER_COLUMNS:
        tidy[name] = _numbers(frame[name])
    for name in COUNT_COLUMNS:
        tidy[name] = _counts(frame[name])
    return tidy


def write_results(results: pd.DataFrame, folder: Path) -> None:
    """Write tidy results as ``results.csv`` (missing cells empty) and ``results.json`` (null)."""
    results.to_csv(folder / "results.csv", index=False, lineterminator="\n")
    rows = [
        {name: None if pd.isna(cell) or cell == "" else cell for name, cell in row.items()}
        for row in results.astype(object).to_dict(orient="records")
    ]
    document = json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "results.json").write_text(document + "\n", encoding="utf-8")


def _text(column: pd.Series) -> list[str]:
    return ["" if pd.isna(cell) else str(cell) for cell in column]


def _numbers(column: pd.Series) -> np.ndarray:
    try:
        values = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InputError(f"results: column {column.name} is not numeric: {error}.") from error
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise InputError(
            f"results: row {infinite[0]}, column {column.name} is infinite; "
            "leave it missing where there is no bound."
        )
    return values


def _counts(column: pd.Series) -> "pd.Series[int]":
    values = _numbers(column)
    broken = np.flatnonzero(~np.isnan(values) & (values != np.round(values)))
    if broken.size:
        raise InputError(
            f"results: row {broken[0]}, column {column.name} is "
            f"{values[broken[0]]:g}; a count is a whole number."
        )
    return pd.Series(values).astype("Int64")
