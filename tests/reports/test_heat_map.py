"""A matrix is drawn cell by cell, and each cell says its numbers."""

import numpy as np
import pytest

from concept_ppl.errors import InputError
from concept_ppl.reports import heat_map
from concept_ppl.reports.svg import draw_svg, inline


def cells(figure):
    root = draw_svg(figure.drawing, figure.name, themed=figure.themed)
    return [node for node in root.iter() if node.tag.endswith("}rect")]


def titles(figure):
    return [next(iter(cell)).text for cell in cells(figure)]


def test_every_entry_is_a_cell_that_says_itself():
    values = [[1.0, -0.5], [0.0, np.nan]]
    found = titles(heat_map(values, ["a", "b"], ["x", "y"]))
    assert found[:4] == ["a | x: 1.00", "a | y: −0.50", "b | x: 0.00", "b | y: nan"]


def test_hints_stand_in_place_and_are_escaped():
    figure = heat_map([[1.0]], ["<a>"], ["x & y"], hints=[["0.3 < 0.4 & more"]])
    assert titles(figure)[0] == "0.3 < 0.4 & more"
    assert "<a>" not in inline(
        draw_svg(figure.drawing, "m", themed=True), "a matrix", themed=True
    ).replace("&lt;a&gt;", "")


def test_colour_grows_with_the_entry_and_negative_ones_have_a_bar():
    figure = heat_map([[0.2, 0.8, -0.8]], ["a"], ["x", "y", "z"])
    small, large, negative = cells(figure)[:3]
    assert float(small.get("fill-opacity")) < float(large.get("fill-opacity"))
    assert large.get("fill-opacity") == negative.get("fill-opacity")
    assert large.get("fill") != negative.get("fill")
    assert figure.drawing.count("<line") == 2 + 1  # two squares of the scale are negative


def test_cells_lie_within_the_drawing_however_many_there_are():
    names = [f"concept number {i}" for i in range(40)]
    figure = heat_map(np.eye(40), names, names)
    for cell in cells(figure)[:1600]:
        assert float(cell.get("x")) + float(cell.get("width")) <= 640.0
        assert float(cell.get("width")) > 5.0


def test_a_matrix_of_another_shape_or_without_numbers_is_refused():
    with pytest.raises(InputError, match="shape"):
        heat_map([[1.0]], ["a", "b"], ["x"])
    with pytest.raises(InputError, match="number"):
        heat_map([[np.nan]], ["a"], ["x"])
