import re
from xml.etree import ElementTree as ET

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from concept_ppl.errors import InputError
from concept_ppl.reports import canonical_bars, decoded_scatter, layer_curve
from concept_ppl.reports.marks import MOST_DOTS, label_sites, site_positions
from concept_ppl.reports.svg import draw_svg, inline, standalone

from .samples import LAYERS, estimate, result, sample_curve, sample_forest, sample_results


def svg_text(figure):
    root = draw_svg(figure.drawing, figure.name, themed=figure.themed)
    return " | ".join("".join(node.itertext()) for node in root.iter() if node.tag.endswith("text"))


def interval_lines(axes):
    lines = [item for item in axes.collections if isinstance(item, LineCollection)]
    return [item.get_segments()[0] for item in lines]


def test_bands_and_curves_of_the_layers_are_the_intervals_and_estimates():
    results = sample_results()
    panels = sample_curve().drawing.axes
    for axes, quantity in zip(panels, ("smallest", "mean"), strict=True):
        for band, line, control in zip(
            axes.collections, axes.lines, ("random weights", ""), strict=True
        ):
            shown = results[(results["quantity"] == quantity) & (results["control"] == control)]
            np.testing.assert_allclose(line.get_ydata(), shown["estimate"].astype(float))
            corners = band.get_paths()[0].vertices
            for x, low, high in zip(
                line.get_xdata(), shown["ci_low"], shown["ci_high"], strict=True
            ):
                heights = corners[corners[:, 0] == x, 1]
                assert heights.min() == pytest.approx(low)
                assert heights.max() == pytest.approx(high)


def test_two_models_are_drawn_at_their_own_layers_under_their_own_names():
    results = sample_results()
    halves = results["layer"].isin(["resid.1", *LAYERS[::2]])
    other = results[halves & (results["control"] == "")].assign(control="other")
    ours = results[~halves & (results["control"] == "")]
    figure = layer_curve(
        pd.concat([ours, other]),
        quantities={"mean": "Mean"},
        reference="other",
        labels=("one", "other"),
        axis="depth",
    ).drawing
    axes = figure.axes[0]
    theirs, own = axes.lines
    places = dict(zip(LAYERS, site_positions(LAYERS), strict=True))
    for line, rows in ((own, ours), (theirs, other)):
        expected = [places[layer] for layer in rows.loc[rows["quantity"] == "mean", "layer"]]
        assert sorted(line.get_xdata()) == sorted(expected)
    assert axes.get_xlabel() == "depth"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]


def test_a_layer_is_drawn_at_its_number_in_whatever_order_the_rows_come():
    results = sample_results().sample(frac=1, random_state=1)
    line = layer_curve(results, quantities={"mean": "Mean"}).drawing.axes[0].lines[-1]
    assert list(line.get_xdata()) == sorted(site_positions(LAYERS))
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.6, 0.7, 0.8])


def test_sites_stand_at_their_block_and_the_others_in_order():
    assert site_positions(["resid.0", "resid.10", "resid.20", "final_norm"]) == pytest.approx(
        [8.3, 10, 20, 21.2]
    )
    assert site_positions(["early", "late"]) == [0, 1]
    assert site_positions(["1", "resid.1"]) == [0, 1]


def test_labels_of_many_layers_are_few_and_round():
    layers = ["embedding", *(f"resid.{block}" for block in range(1, 31)), "final_norm"]
    axes = matplotlib.figure.Figure().subplots()
    label_sites(axes, dict(zip(layers, site_positions(layers), strict=True)))
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["embedding", "5", "10", "15", "20", "25", "30", "norm"]


def test_a_quantity_without_rows_of_the_model_is_refused():
    with pytest.raises(InputError, match="no row of quantity 'median'"):
        layer_curve(sample_results(), quantities={"median": "Median"})
    with pytest.raises(InputError, match="needs the column layer"):
        layer_curve(sample_results().drop(columns="layer"), quantities={"mean": "Mean"})


def test_the_forest_puts_the_model_first_and_each_interval_where_it_is():
    upper, lower = sample_forest().drawing.axes
    spans = [segment[:, 0] for segment in interval_lines(upper)]
    np.testing.assert_allclose(spans, [[0.76, 0.86], [0.81, 0.91], [-0.06, 0.04]])
    rows = [segment[0, 1] for segment in interval_lines(upper)]
    assert rows == sorted(rows)
    words = [item.get_text() for item in upper.texts]
    assert words[:3] == ["model", "0.810 [0.760, 0.860]", "bag of tokens"]
    np.testing.assert_allclose(interval_lines(lower)[0][:, 0], [-0.06, -0.04])
    assert any(list(line.get_xdata()) == [0, 0] for line in lower.lines)


def test_bars_reach_the_estimates_and_whiskers_the_intervals():
    frame = pd.DataFrame(
        [result(term=str(place), control="", **estimate(0.9 - 0.1 * place)) for place in (1, 2, 3)]
        + [result(term="2", control="shuffled", **estimate(0.01))]
    )
    axes = canonical_bars(frame, reference="shuffled").drawing.axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [0.8, 0.7, 0.6])
    ends = [segment[:, 1] for segment in interval_lines(axes)]
    np.testing.assert_allclose(ends[0], [0.75, 0.85])
    np.testing.assert_allclose(ends[3], [-0.04, 0.06])
    assert interval_lines(axes)[3][0, 0] == pytest.approx(1, abs=0.3)
    with pytest.raises(InputError, match="one row for each direction"):
        canonical_bars(pd.concat([frame, frame]))


@pytest.mark.parametrize("n", [MOST_DOTS, MOST_DOTS + 1])
def test_every_point_of_the_scatter_is_drawn_or_counted(n):
    true = np.random.default_rng(0).normal(size=(n, 3))
    figure = decoded_scatter(true, 0.5 * true, ["de − en", "fr − en", "es − en"])
    shown = [axes for axes in figure.drawing.axes if axes.get_visible()]
    assert len(shown) == 3
    for column, axes in enumerate(shown):
        (points,) = axes.collections
        offsets = points.get_offsets()
        if n <= MOST_DOTS:
            np.testing.assert_array_equal(offsets, np.c_[true, 0.5 * true][:, [column, column + 3]])
        else:
            assert np.abs(offsets[:, 1] - 0.5 * offsets[:, 0]).max() < 0.3
        np.testing.assert_array_equal(*axes.lines[0].get_data())
        assert axes.get_xlim() == axes.get_ylim() == shown[0].get_xlim()


def test_the_scatter_says_r2_with_its_interval():
    r2 = pd.DataFrame([result(term="de − en", **estimate(0.84, 0.02))])
    true = np.linspace(-1, 1, 20)[:, None]
    figure = decoded_scatter(true, true, ["de − en"], r2=r2)
    assert "R² 0.840 [0.820, 0.860]" in svg_text(figure)


def test_the_scatter_refuses_what_it_cannot_show():
    true = np.zeros((4, 2))
    with pytest.raises(InputError, match="for 3 names"):
        decoded_scatter(true, true, ["a", "b", "c"])
    broken = true.copy()
    broken[2, 1] = -np.inf
    with pytest.raises(InputError, match="decoded is not finite in row 2, column 1"):
        decoded_scatter(true, broken, ["a", "b"])


def test_labels_are_words_and_never_formulas():
    frame = pd.DataFrame([result(term="$\\frac{x$ 語", control="", **estimate(0.9))])
    figure = canonical_bars(frame)
    assert "$\\frac{x$ 語" in svg_text(figure)


def test_drawing_leaves_the_users_settings_alone_and_does_not_follow_them():
    plain = standalone(draw_svg(sample_curve().drawing, "a", themed=True))
    with mpl.rc_context({"font.size": 30.0, "axes.grid": True, "text.usetex": True}):
        before = dict(mpl.rcParams)
        assert standalone(draw_svg(sample_curve().drawing, "a", themed=True)) == plain
        assert dict(mpl.rcParams) == before


def test_an_svg_is_the_same_bytes_each_time_and_follows_the_theme_only_in_the_page():
    first, second = (draw_svg(sample_curve().drawing, "a", themed=True) for _ in range(2))
    assert standalone(first) == standalone(second)
    assert "<metadata" not in standalone(first)
    assert "var(--" not in standalone(first)
    page = inline(first, "what it shows", themed=True)
    assert set(re.findall(r"#[0-9a-f]{6}", re.sub(r"var\([^)]*\)", "", page))) == set()
    assert ET.fromstring(page).get("viewBox")


@pytest.mark.parametrize(
    "content",
    [
        "<script>alert(1)</script>",
        '<rect onload="alert(1)"/>',
        '<image href="https://example.org/a.png"/>',
        '<a href="javascript:alert(1)"/>',
        '<rect style="fill: url(https://example.org/a)"/>',
        "<style>@import 'https://example.org/a.css';</style>",
        "<foreignObject/>",
        "<unclosed>",
    ],
)
def test_a_foreign_svg_that_runs_or_loads_something_is_refused(content):
    source = f'<svg xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    with pytest.raises(InputError, match="figure mine"):
        draw_svg(source, "mine", themed=False)


def test_a_foreign_svg_keeps_its_size_as_a_view_box_and_its_ids_to_itself():
    source = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="20pt" height="10pt">'
        '<defs><clipPath id="c"/></defs><g clip-path="url(#c)"/></svg>'
    )
    page = inline(draw_svg(source, "mine", themed=False), "mine", themed=False)
    assert 'viewBox="0 0 20 10"' in page
    assert 'id="mine-c"' in page
    assert "url(#mine-c)" in page
    with pytest.raises(InputError, match="not an SVG"):
        draw_svg("<p/>", "mine", themed=False)
