import math

import numpy as np
import pandas as pd
import pytest

from concept_ppl.analyses.results.rows import Estimate, Row, result_frame
from concept_ppl.analyses.results.tables import latex_table, markdown_table
from concept_ppl.formatting import in_words, write
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
    assert interval(0.7, math.nan, math.nan, 2) == "0.70"
    assert interval(12.5, 3.25, math.inf) == "12.500 [3.250, ∞]"


def test_an_estimate_and_its_interval_share_their_precision():
    assert interval(-4.7e-5, -6.1e-5, -3.3e-5) == "−0.000047 [−0.000061, −0.000033]"
    assert interval(-4.7e-12, -6.1e-12, -3.3e-12) == "−4.7e−12 [−6.1e−12, −3.3e−12]"
    assert interval(0.99996, 0.99994, 0.99998) == "0.999960 [0.999940, 0.999980]"
    assert interval(1.0, 1.0, 1.0) == "1.000 [1.000, 1.000]"
    assert interval(-4.7e-5, math.nan, math.nan) == "−4.7e−05"


def test_counts_are_whole_numbers():
    assert interval(167.0, 144.0, 1192.0) == "167 [144, 1,192]"
    assert interval(167.0, 144.5, 192.0) == "167.000 [144.500, 192.000]"
    assert interval(1.0, 0.0, 1.0) == "1.000 [0.000, 1.000]"


def test_what_counts_by_its_name_is_a_whole_number_even_where_it_is_one():
    counted = Estimate(1.0, math.nan, math.nan, math.nan, 0.95, math.nan, 50, 50)
    rows = [Row("accuracy", "n_pareto_k_too_high", "", counted), Row("accuracy", "r2", "", counted)]
    table = markdown_table(rows)
    assert "| n_pareto_k_too_high | 1 |" in table
    assert "| r2 | 1.000 |" in table
    view = table_view(Table("caption", result_frame(rows)))
    assert {"1", "1.000"} <= {cell.text for row in view.rows for cell in row}


def test_a_bound_is_no_interval():
    assert interval(0.991, 0.987, math.nan) == "0.991 [≥ 0.987]"
    assert interval(0.7, math.nan, 0.8, 2) == "0.70 [≤ 0.80]"
    assert in_words(0.991, 0.987, math.nan, 0.95) == "0.991 (95% bound ≥ 0.987)"
    bound = Estimate(0.991, 0.002, 0.987, math.nan, 0.95, 0.0002, 50, 50)
    assert str(bound) == "0.991 (95% bound ≥ 0.987, p < .001)"


def test_page_summary_and_latex_write_the_same_numbers():
    value = Estimate(-4.7e-5, 7e-6, -6.1e-5, -3.3e-5, 0.95, 0.0321, 50, 50)
    rows = [Row("analysis", "gap", "all", value)]
    assert str(value) == "−0.000047 (95% CI −0.000061 to −0.000033, p = .032)"
    assert "−0.000047 [−0.000061, −0.000033] | .032" in markdown_table(rows)
    assert r"$-$0.000047 [$-$0.000061, $-$0.000033] & .032" in latex_table(rows, "caption")
    view = table_view(Table("caption", result_frame(rows)))
    assert "−0.000047 [−0.000061, −0.000033]" in [c.text for row in view.rows for c in row]


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
