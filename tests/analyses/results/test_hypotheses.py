"""A test carries its null and its p-value, or the reason why it has none."""

import math

import numpy as np
import pytest
from scipy import stats

from concept_ppl.analyses import RESULT_COLUMNS, HypothesisTest, result_frame
from concept_ppl.analyses.results.hypotheses import (
    bootstrap_test,
    chi2_test,
    f_test,
    invalid,
    t_test,
)
from concept_ppl.errors import InputError


def test_p_values_are_tail_probabilities():
    # Tables of Fisher and Yates: the 5% points.
    assert f_test("", 4.964603, 1, 10).p_value == pytest.approx(0.05, rel=1e-5)
    assert chi2_test("", 7.814728, 3).p_value == pytest.approx(0.05, rel=1e-5)
    assert t_test("", -2.228139, 10).p_value == pytest.approx(0.05, rel=1e-5)


def test_squared_t_is_f_and_many_denominator_degrees_make_it_chi2():
    assert t_test("", 1.7, 8).p_value == pytest.approx(f_test("", 1.7**2, 1, 8).p_value, rel=1e-12)
    far = f_test("", 2.0, 3, 1e9).p_value
    assert far == pytest.approx(stats.chi2.sf(6.0, 3), rel=1e-6)


def test_a_test_prints_on_one_line():
    assert str(f_test("no slope", 2.5, 3, 40)).startswith("F(3, 40) = 2.5, p = .073; null: no")
    assert str(chi2_test("no slope", 2.0, 1)).startswith("chi2(1) = 2, p = .157")
    assert str(bootstrap_test("no slope", 2.0, 0.25)) == (
        "statistic 2, p = .250 by resampling; null: no slope"
    )
    assert str(invalid("no slope", "there is one cluster")) == (
        "invalid because there is one cluster; null: no slope"
    )


def test_what_cannot_be_tested_says_why():
    assert f_test("no slope", math.nan, 1, 5).invalid_because == "the statistic is not a number"
    assert chi2_test("no slope", 1.0, 0).invalid_because == "it has 0 degrees of freedom"
    broken = t_test("no slope", 1.0, math.nan)
    assert math.isnan(broken.p_value)
    assert not broken.is_valid
    with pytest.raises(InputError, match="either a p-value or the reason"):
        HypothesisTest("no slope", 1.0, "F", 1.0, 2.0, math.nan)
    with pytest.raises(InputError, match="either a p-value or the reason"):
        HypothesisTest("no slope", 1.0, "F", 1.0, 2.0, 0.5, "it is valid")


def test_a_test_is_a_row_without_an_interval():
    row = f_test("no slope", 2.5, 3, 40).as_row("a", "wald_f", "t", n=9, n_clusters=4, layer="2")
    frame = result_frame([row])
    assert tuple(frame.columns) == RESULT_COLUMNS
    assert frame["estimate"][0] == 2.5
    assert frame["p_value"][0] == pytest.approx(0.0733, abs=1e-4)
    assert np.isnan(frame[["std_error", "ci_low", "ci_high"]].to_numpy(dtype=float)).all()
    assert (frame["layer"][0], frame["n_clusters"][0]) == ("2", 4)
