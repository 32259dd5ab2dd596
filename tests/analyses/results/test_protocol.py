"""Every answer speaks one protocol: tables, words, and a figure in given axes."""

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from concept_ppl.analyses import RESULT_COLUMNS, goodness_of_fit, linear_map
from concept_ppl.analyses.results import Result


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    Z = pd.DataFrame(rng.normal(size=(120, 2)), columns=["mood", "topic"])
    F = Z.to_numpy() @ rng.normal(size=(2, 5)) + rng.normal(size=(120, 5))
    return goodness_of_fit(F, Z, controls={"noise": rng.normal(size=(120, 3))})


def test_names_of_columns_come_out_as_they_came_in(fit):
    assert [name for name, _ in fit.per_contrast] == ["mood", "topic"]
    assert "log_odds:topic" in set(fit.tidy()["term"])


def test_a_named_series_keeps_its_name_and_numbered_columns_get_letters():
    rng = np.random.default_rng(1)
    z = pd.Series(rng.normal(size=50), name="mood")
    F = rng.normal(size=(50, 2))
    assert goodness_of_fit(F, z).per_contrast[0][0] == "mood"
    assert goodness_of_fit(F, pd.DataFrame({0: z})).per_contrast[0][0] == "z1"
    assert linear_map(F, z).regressors[-1] == "mood"


def test_controls_follow_in_table_and_summary(fit):
    table = fit.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert table["analysis"].tolist()[-1] == "compare_controls"
    assert fit.summary().endswith(fit.controls.summary())


def test_a_panel_is_drawn_into_given_axes_and_their_figure_comes_back(fit):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert fit.plot(ax=right) is figure
    assert right.lines
    assert not left.lines
    alone = fit.plot()
    assert isinstance(alone, Figure)
    assert len(alone.axes) == 1


def test_a_notebook_and_a_readme_show_the_numbers(fit):
    html, markdown = fit._repr_html_(), fit.to_markdown()
    assert html.startswith("<table><caption>Held-out R² of the log_odds")
    assert html.count("<tr>") == len(fit.tidy()) + 1
    assert markdown.count("\n") == len(fit.tidy()) + 2


def test_answers_are_frozen_and_hold_no_data(fit):
    assert isinstance(fit, Result)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        fit.target = "other"
    assert not hasattr(fit, "__dict__")
