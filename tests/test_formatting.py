import math

import numpy as np
import pandas as pd
import pytest

from concept_ppl.formatting import write
from concept_ppl.reports import Table, interval, number, p_value
from concept_ppl.reports.tables import table_view


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (0.8234, 3, "0.823"),
        (-0.1234, 3, "−0.123"),
        (12345.678, 1, "12,345.7"),
        (0.0, 3, "0.000"),
        (-0.0, 3, "0.000"),
        (2.5e-7, 3, "2.5e−07"),
        (0.0005, 3, "0.001"),
        (-3.2e12, 3, "−3.2e+12"),
        (math.nan, 3, "–"),
        (-math.inf, 3, "−∞"),
    ],
)
def test_numbers(value, decimals, expected):
    assert number(value, decimals) == expected


def test_intervals():
    assert interval(0.823, 0.801, 0.844) == "0.823 [0.801, 0.844]"
    assert interval(-0.0001, -0.002, 0.002) == "0.000 [−0.002, 0.002]"
    assert interval(0.7, 0.6, math.nan, 2) == "0.70 [0.60, –]"
    assert interval(0.7, math.nan, math.nan, 2) == "0.70"


@pytest.mark.parametrize(
    ("value", "cell", "sentence"),
    [
        (0.0321, ".032", "p = .032"),
        (0.0, "< .001", "p < .001"),
        (0.00099, "< .001", "p < .001"),
        (0.001, ".001", "p = .001"),
        (1.0, "> .999", "p > .999"),
        (math.nan, "–", "–"),
    ],
)
def test_p_values(value, cell, sentence):
    assert p_value(value) == cell
    assert p_value(value, symbol=True) == sentence


def test_cells_by_format():
    assert write(3000, "integer") == "3,000"
    assert write(-0.25, ".1%") == "−25.0%"
    assert write(None, "estimate") == write(pd.NA, ".2f") == "–"
    assert write("norm", "estimate") == "norm"


def test_a_table_joins_intervals_drops_empty_columns_and_sorts_by_value():
    frame = pd.DataFrame(
        {
            "layer": ["embedding", "2"],
            "control": ["", None],
            "estimate": [0.5, -1200.0],
            "ci_low": [0.4, -1300.0],
            "ci_high": [0.6, -1100.0],
            "ci_level": [0.9, 0.9],
            "p_value": [1e-9, np.nan],
            "n": pd.array([3000, None], dtype="Int64"),
        }
    )
    view = table_view(Table("caption", frame, headings={"layer": "site"}))
    heads = [column.heading for column in view.columns]
    assert heads == ["site", "estimate [90% interval]", "p", "n"]
    assert [cell.text for cell in view.rows[1]] == [
        "2",
        "−1,200.000 [−1,300.000, −1,100.000]",
        "–",
        "–",
    ]
    assert [cell.sort_key for cell in view.rows[0]] == ["", "0.5", "1e-09", "3000"]


def test_levels_that_differ_stay_in_a_column_of_their_own():
    frame = pd.DataFrame(
        {"estimate": [1.0, 2.0], "ci_low": 0.0, "ci_high": 3.0, "ci_level": [0.9, 0.95]}
    )
    assert [c.heading for c in table_view(Table("", frame)).columns] == [
        "estimate [interval]",
        "level",
    ]
