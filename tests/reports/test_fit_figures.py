"""Drawings of fits show the numbers that they were given."""

import numpy as np
import pandas as pd
import pytest

from concept_ppl.errors import InputError
from concept_ppl.reports.fit_figures import (
    criterion_curve,
    fit_history,
    reliability_curves,
    replicate_ranges,
)
from concept_ppl.reports.svg import draw_svg


def statistics(n):
    rng = np.random.default_rng(0)
    low = rng.normal(size=n)
    observed = low + 0.5
    observed[1] = low[1] - 1
    names = [f"s{i}" for i in range(n)]
    columns = {"term": names, "estimate": observed, "ci_low": low, "ci_high": low + 1}
    return pd.DataFrame({**columns, "p_value": 0.5})


@pytest.mark.parametrize("n", [4, 40])
def test_a_statistic_outside_its_range_is_a_diamond(n):
    rows = statistics(n)
    figure = replicate_ranges(rows, label="pairs", name="pairs")
    (axes,) = figure.drawing.axes
    inside, outside = axes.lines
    assert len(inside.get_xdata()) == n - 1
    np.testing.assert_allclose(outside.get_ydata(), [rows["estimate"][1]])
    assert outside.get_marker() == "D"
    segments = axes.collections[0].get_segments()
    assert sorted(s[0, 1] for s in segments) == sorted(rows["ci_low"])
    assert set(figure.data["term"]) == set(rows["term"])
    assert draw_svg(figure.drawing, figure.name, themed=True) is not None
    with pytest.raises(InputError, match="no statistic of 'pairs'"):
        replicate_ranges(rows.iloc[:0], label="pairs", name="pairs")


def test_the_best_run_is_drawn_in_front():
    figure = fit_history([np.array([-3.0, -2.0]), np.array([-4.0, -1.0, -0.5])], best=0)
    lines = figure.drawing.axes[0].lines
    np.testing.assert_allclose(lines[-1].get_ydata(), [-3, -2])
    assert figure.data["estimate"].tolist() == [-2.0, -0.5]
    with pytest.raises(InputError, match="no iteration"):
        fit_history([])


def test_reliability_and_criteria_are_drawn_as_given():
    points = np.array([[0.5, 0.6, 0.55], [0.5, 0.9, 0.95]])
    figure = reliability_curves({"fitted": points, "true": points[::-1]}, model="fitted")
    fitted = figure.drawing.axes[0].lines[1]
    np.testing.assert_allclose(fitted.get_xydata(), points[:, 1:])
    rows = pd.DataFrame(
        {
            "criterion": ["loo", "loo", "new", "new"],
            "term": [2, 3, 2, 3],
            "estimate": [-1.0, 0.0, -2.0, 0.0],
            "ci_low": [-1.5, 0.0, -2.5, 0.0],
            "ci_high": [-0.5, 0.0, -1.5, 0.0],
        }
    )
    curve = criterion_curve(rows, label="nats", axis="components", name="components")
    first = curve.drawing.axes[0].lines[0]
    np.testing.assert_allclose(first.get_xydata(), [[2, -1], [3, 0]])
    assert len(curve.data) == 4
