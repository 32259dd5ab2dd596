"""Tables for a paper: the structure of booktabs, text escaped, a line an estimate."""

import math
import re

import numpy as np
import pytest

from concept_ppl.analyses import (
    Estimate,
    Row,
    canonical_correlations,
    compare_controls,
    contrast_tables,
    goodness_of_fit,
    latex_table,
    layer_curve,
)
from concept_ppl.analyses.results.tables import escape


def lines_between(text, first, last):
    lines = text.splitlines()
    return lines[lines.index(first) + 1 : lines.index(last)]


def estimate(value, low, high, p_value):
    return Estimate(value, 0.1, low, high, 0.95, p_value, 1200, 300)


def test_a_line_holds_what_a_report_prints():
    rows = [
        Row("goodness_of_fit", "r2_forward", "log_odds", estimate(0.5, 0.4, 0.6, 0.0002)),
        Row("goodness_of_fit", "r2_backward", "a&b", estimate(-0.25, -0.5, 0.1, math.nan)),
    ]
    text = latex_table(rows, "50% of R²", "tab:fit")
    assert r"\caption{50\% of R\textsuperscript{2}}" in text
    assert r"\label{tab:fit}" in text
    assert r"\begin{tabular}{llrrrr}" in text
    assert lines_between(text, r"\toprule", r"\midrule") == [
        r"quantity & term & estimate [95\% CI] & p & n & clusters \\"
    ]
    assert lines_between(text, r"\midrule", r"\bottomrule") == [
        r"r2\_forward & log\_odds & 0.500 [0.400, 0.600] & $<$ .001 & 1,200 & 300 \\",
        r"r2\_backward & a\&b & $-$0.250 [$-$0.500, 0.100] & – & 1,200 & 300 \\",
    ]


def test_no_special_character_reaches_latex_bare():
    assert escape("\\&%$#_{}~^") == (
        r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}"
    )


def states_and_contrasts():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(80, 2))
    return Z @ rng.normal(size=(2, 4)) + rng.normal(size=(80, 4)), Z


@pytest.mark.parametrize(
    "analysis",
    [
        goodness_of_fit,
        canonical_correlations,
        contrast_tables,
        lambda F, Z: compare_controls(F, Z, {"no_ise": F[::-1]}),
        lambda F, Z: layer_curve({"block_1": F, "block_2": F + 1}, Z),
    ],
)
def test_every_result_writes_each_row_of_its_tidy_table(analysis):
    result = analysis(*states_and_contrasts())
    text = result.to_latex("tab:x")
    body = lines_between(text, r"\midrule", r"\bottomrule")
    assert len(body) == len(result.tidy())
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1]
    assert {len(re.split(r"(?<!\\)&", line)) for line in body} == {len(columns)}
    assert not re.search(r"(?<!\\)_", text.replace(r"\label{tab:x}", ""))
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
