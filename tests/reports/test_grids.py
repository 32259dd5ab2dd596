"""Curves and maps show the rows that they are given, all of them, and say which are missing."""

import math
from itertools import product

import pandas as pd
import pytest

from concept_ppl.errors import InputError
from concept_ppl.reports import Layer, Panel, knob_curves, regime_maps
from concept_ppl.reports.svg import draw_svg

UP, RIGHT = (0.1, 0.5, 1.0), (0.25, 0.95)
MAP = pd.DataFrame(
    [
        {"y": y, "x": x, "quantity": name, "estimate": value * y * x}
        | {"ci_low": 0.0, "ci_high": 1.0, "n": 5, "n_clusters": 5}
        for (name, value), y, x in product({"gap": 0.4, "power": 1.0}.items(), UP, RIGHT)
    ]
)


def text_of(figure):
    root = draw_svg(figure.drawing, figure.name, themed=True)
    return [node.text for node in root.iter() if node.text and node.text.strip()]


def drawn(rows=MAP, layers=("gap", "power")):
    return regime_maps(
        rows,
        [Layer(name, name) for name in layers],
        rows="y",
        columns="x",
        axes_names=("up", "right"),
        marked={1.0: "+"},
        name="map",
        caption="A map.",
    )


def test_every_cell_of_a_map_prints_its_own_number():
    words = text_of(drawn(layers=("power",)))
    for y, x in product(UP, RIGHT):
        assert f"{y * x:.2f}".replace("0.", ".", 1) in words
    assert "+" in words


def test_a_darker_cell_is_a_larger_number():
    axes = drawn(layers=("gap",)).drawing.axes[0]
    shades = {patch.get_facecolor()[3] for patch in axes.patches if patch.get_fill()}
    assert len(shades) == len(UP) * len(RIGHT)
    first, *_, last = [p.get_facecolor()[3] for p in axes.patches if p.get_fill()]
    assert first < last


def test_small_missing_and_negative_numbers_read_as_what_they_are():
    rows = MAP[MAP["quantity"] == "gap"].assign(estimate=[1e-12, 0.002, math.nan, -0.12, 0.0, 1.0])
    words = text_of(drawn(rows, ("gap",)))
    assert {"≈0", "<.01", "–", "−.12", "1.00"} <= set(words)


def test_the_data_behind_a_map_has_the_intervals():
    behind = drawn().data
    assert len(behind) == len(MAP)
    assert {"ci_low", "ci_high"} <= set(behind.columns)
    with pytest.raises(InputError, match="no row of quantity 'absent'"):
        drawn(layers=("absent",))


def curves(rows, panels):
    return knob_curves(
        rows,
        panels,
        knob="density",
        axis="density",
        labels=("trained", "Bayes"),
        name="curves",
        caption="Curves.",
    )


def test_a_curve_has_a_point_for_each_setting_of_the_knob_in_order():
    rows = pd.DataFrame(
        [
            {"density": d, "quantity": name, "estimate": e, "ci_low": e - 0.1, "ci_high": e + 0.1}
            | {"n": 5, "n_clusters": 5}
            for name, shift in {"trained": 0.0, "bayes": 0.2}.items()
            for d, e in ((3.0, 0.3 + shift), (1.0, 0.6 + shift), (2.0, 0.5 + shift))
        ]
    )
    figure = curves(rows, [Panel("R²", "trained", "bayes"), Panel("again", "trained")])
    first, second = figure.drawing.axes
    muted, solid = (line.get_ydata().tolist() for line in first.lines)
    assert solid == [0.6, 0.5, 0.3]
    assert muted == [0.8, 0.7, 0.5]
    assert len(second.lines) == 1
    assert len(figure.data) == 6
    with pytest.raises(InputError, match="no row of quantity 'absent'"):
        curves(rows, [Panel("R²", "absent")])
