import json

import numpy as np
import pandas as pd
import pytest

from concept_ppl.errors import InputError
from concept_ppl.reports import RESULT_COLUMNS, tidy_results
from concept_ppl.reports.results import write_results

from .samples import sample_results


def test_the_columns_are_the_ones_that_were_promised():
    promised = (
        "analysis, quantity, term, layer, control, estimate, std_error, ci_low, ci_high, "
        "ci_level, p_value, n, n_clusters"
    )
    assert ", ".join(RESULT_COLUMNS) == promised
    shuffled = sample_results()[list(reversed(RESULT_COLUMNS))]
    assert list(tidy_results(shuffled).columns) == list(RESULT_COLUMNS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="layer"), "missing: layer; unknown: none"),
        (lambda frame: frame.assign(rho=1.0), "missing: none; unknown: rho"),
        (lambda frame: frame.rename(columns={"n": "N"}), "missing: n; unknown: N"),
        (lambda frame: pd.concat([frame, frame["n"]], axis=1), "exactly the columns"),
        (lambda frame: frame.assign(estimate="high"), "column estimate is not numeric"),
        (lambda frame: frame.assign(ci_high=np.inf), "row 0, column ci_high is infinite"),
        (lambda frame: frame.assign(n=2.5), "row 0, column n is 2.5"),
    ],
)
def test_other_columns_and_cells_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        tidy_results(change(sample_results()))


def test_written_results_read_back_as_they_were(tmp_path):
    results = tidy_results(sample_results())
    write_results(results, tmp_path)
    back = pd.read_csv(tmp_path / "results.csv", keep_default_na=True)
    assert list(back.columns) == list(RESULT_COLUMNS)
    np.testing.assert_array_equal(back["estimate"], results["estimate"])
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [list(row) for row in rows] == [list(RESULT_COLUMNS)] * len(results)
    np.testing.assert_array_equal([row["estimate"] or np.nan for row in rows], results["estimate"])
    assert all(type(row["n"]) is int for row in rows)


def test_what_is_missing_is_null_and_not_nan(tmp_path):
    frame = sample_results().tail(1).assign(estimate=np.nan, n=None, term=None)
    write_results(tidy_results(frame), tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    (row,) = json.loads(text)
    assert row["estimate"] is row["n"] is row["term"] is None
    assert (tmp_path / "results.csv").read_text().splitlines()[1].startswith("made up,increment,,,")


def test_a_table_without_rows_is_still_a_table(tmp_path):
    write_results(tidy_results(sample_results().head(0)), tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == []
    assert (tmp_path / "results.csv").read_text() == ",".join(RESULT_COLUMNS) + "\n"
