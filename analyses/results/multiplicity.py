"""How p-values are read when many are looked at: Benjamini–Hochberg for scans, Holm for claims."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from concept_ppl.errors import InputError

FAMILY = ("analysis", "quantity")
"""Rows that agree in these columns are one family of tests."""


def benjamini_hochberg(table: pd.DataFrame, family: Sequence[str] = FAMILY) -> pd.DataFrame:
    """Adjust the p-values of a scan: the false discovery rate within each family is controlled.

    Benjamini and Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x; valid for
    independent or positively dependent tests, as layers of one model are.

    Parameters
    ----------
    table
        Tidy results. Rows whose ``p_value`` is NaN state no test and stay as they are.
    family
        Columns that tell the families apart.

    Returns
    -------
    adjusted
        A copy with adjusted ``p_value``; nothing else changes.

    Raises
    ------
    InputError
        If a column is missing or a p-value lies outside [0, 1].
    """
    return _adjusted(table, family, "fdr_bh")


def holm(table: pd.DataFrame, family: Sequence[str] = FAMILY) -> pd.DataFrame:
    """Adjust the p-values of claims: the chance of any false one within a family is controlled.

    Holm 1979, https://www.jstor.org/stable/4615733; valid under any dependence. Parameters, return
    value and errors as `benjamini_hochberg`.
    """
    return _adjusted(table, family, "holm")


def _adjusted(table: pd.DataFrame, family: Sequence[str], method: str) -> pd.DataFrame:
    from statsmodels.stats.multitest import multipletests

    missing = [column for column in (*family, "p_value") if column not in table.columns]
    if missing:
        raise InputError(f"The table has no column {missing[0]!r}; give tidy results.")
    p_values = table["p_value"].to_numpy(dtype=np.float64)
    tested = ~np.isnan(p_values)
    bad = np.flatnonzero(tested & ((p_values < 0) | (p_values > 1)))
    if bad.size:
        raise InputError(f"p_value is {p_values[bad[0]]} in row {bad[0]}; it must lie in [0, 1].")
    adjusted = p_values.copy()
    groups = table.groupby(list(family), sort=False, dropna=False).ngroup().to_numpy()
    for group in np.unique(groups[tested]):
        rows = tested & (groups == group)
        adjusted[rows] = multipletests(p_values[rows], method=method)[1]
    return table.assign(p_value=adjusted)
