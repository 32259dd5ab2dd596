"""The report on the paper's own world: recovery by accuracy, and beside it what accuracy hides."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concept_ppl.analyses.studies.laboratory.bars import (
    bars_section,
    ceiling_bars,
    shuffled_bar,
    written,
)
from concept_ppl.analyses.studies.laboratory.over_worlds import groups, pooled, pooled_rows, tidy
from concept_ppl.analyses.studies.laboratory.runs import Extent
from concept_ppl.analyses.studies.laboratory.sections import learned_section, methods_section
from concept_ppl.reports import (
    Figure,
    KeyFigure,
    Panel,
    Report,
    Section,
    Table,
    Verdict,
    knob_curves,
)

QUESTION = "Does a high accuracy of linear probes mean that the log-posterior was learned?"
KNOBS = {
    "density": "expected degree of the graph of concepts",
    "concepts": "number of concepts",
    "collisions": "share of joint values that take the bits of another",
    "noise": "noise of the bits that are read",
}
SHORT = {
    "density": "expected degree",
    "concepts": "concepts",
    "collisions": "shared bits",
    "noise": "noise",
}
SETTING = list(KNOBS)
ACCURACY = {
    "accuracy": "accuracy",
    "Bayes": "accuracy.bayes",
    "smallest ρ²": "trained.rho2_smallest",
    "mean ρ²": "trained.rho2_mean",
}
BOTH_WAYS = {
    "R²(Z|F)": "trained.r2_backward",
    "R²(F|Z)": "trained.r2_forward",
    "R²(joint|F)": "trained.joint.r2_backward",
    "R²(F|joint)": "trained.joint.r2_forward",
}
BUDGET = {
    "predictor gap": "kl",
    "gap to the joint": "gap.share",
    "gap to the concepts": "gap.target_share",
    "remainder h": "remainder.share",
}
QUANTITIES = (
    *("accuracy", "accuracy.bayes", "accuracy.gap", "kl", "kl.share", "trained.rho2_smallest"),
    *("trained.rho2_mean", "trained.r2_backward", "trained.r2_forward", "trained.alpha"),
    *("trained.joint.r2_backward", "trained.joint.r2_forward", "trained.joint.rho2_smallest"),
    *("bayes.rho2_smallest", "bayes.rho2_mean", "bayes.r2_backward", "bayes.r2_forward"),
    *("bayes.joint.r2_forward", "bayes.joint.r2_backward", "untrained.rho2_smallest"),
    *("untrained.rho2_mean", "held_out.r2_backward", "held_out.r2_forward"),
    *("held_out.rho2_smallest", "held_out.rho2_mean", "shuffled.rho2_mean", "gap.share"),
    *("gap.target_share", "remainder.share", "difference", "increment", "control.best"),
    *("ceiling.r2_backward", "ceiling.r2_forward", "information", "next_information"),
)


def theory_report(frame: pd.DataFrame, extent: Extent, manifest: Mapping[str, Any]) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    level = extent.level
    clean = frame[~frame["trained"]]
    cells = frame[frame["trained"]].assign(
        **{"accuracy.gap": lambda rows: rows["accuracy"] - rows["accuracy.bayes"]}
    )
    base = base_cells(cells)
    curves = pooled_rows(cells, QUANTITIES, SETTING, level, study="theory")
    groups = {setting_name(knob, value): group for knob, value, group in one_at_a_time(cells)}
    return Report(
        title="The paper's world",
        question=QUESTION,
        verdict=_verdict(base, level),
        key_figures=_key_figures(base, level),
        sections=[
            bars_section([shuffled_bar(cells), *ceiling_bars(cells)]),
            _accuracy_section(cells, curves, level),
            _budget_section(cells, level),
            _clean_section(clean),
            learned_section(cells, groups, level),
        ],
        results=tidy([curves, pooled_rows(clean, ["impossible"], SETTING, level, study="theory")]),
        manifest=manifest,
        methods=methods_section(extent, WORLD_TEXT.format(count=len(extent.world_numbers))),
    )


WORLD_TEXT = (
    "World: `one_hot_permutation`, {count} random ones of each setting: binary concepts on a "
    "random graph, their joint value permuted and written in bits; eight bits are read, each "
    "flipped with the probability that the setting names, and as many as there are concepts, "
    "masked in the input, are the next token. Base setting: four concepts, expected degree 1, no "
    "two values with the same bits, noise .1; one knob is turned at a time. f is as wide as the "
    "log-ratios of y have columns, so that the unembedding can meet the diversity condition."
)


def base_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the setting that all knobs share, the most frequent of each."""
    for knob in KNOBS:
        cells = cells[cells[knob] == _usual(cells, knob)]
    return cells


def _usual(cells: pd.DataFrame, knob: str) -> float:
    return float(cells[knob].mode().iloc[0])


def _along(cells: pd.DataFrame, knob: str) -> pd.DataFrame:
    """Return the cells in which only this knob differs from the base setting."""
    for other in KNOBS:
        if other != knob:
            cells = cells[cells[other] == _usual(cells, other)]
    return cells


def one_at_a_time(cells: pd.DataFrame) -> list[tuple[str, float, pd.DataFrame]]:
    """Return the base setting, then each other one: its knob, the knob's value, its cells."""
    usual = {knob: _usual(cells, knob) for knob in KNOBS}
    found = [("base", 0.0, base_cells(cells))]
    for knob in KNOBS:
        others = [other for other in KNOBS if other != knob]
        own = cells[(cells[others] == [usual[other] for other in others]).all(axis=1)]
        found += [
            (knob, float(setting[knob]), group)
            for setting, group in groups(own.sort_values(knob, kind="stable"), [knob])
            if float(setting[knob]) != usual[knob]
        ]
    return found


def setting_name(knob: str, value: float) -> str:
    """Name a setting by the knob that differs from the base setting."""
    return "base setting" if knob == "base" else f"{SHORT[knob]} {value:g}"


def _verdict(base: pd.DataFrame, level: float) -> Verdict:
    accuracy, bayes = pooled(base, "accuracy", level), pooled(base, "accuracy.bayes", level)
    mean, least = (pooled(base, f"trained.rho2_{w}", level) for w in ("mean", "smallest"))
    gap, joint = pooled(base, "gap.target_share", level), pooled(base, "gap.share", level)
    is_lost = least.ci_high < 0.95
    sentence = (
        f"{'No' if is_lost else 'Undecided'}: in the base setting probes name concepts in "
        f"{written(accuracy)} of contexts, Bayes in {written(bayes)}, while the log-odds of the "
        f"concepts are kept with a mean ρ² of {written(mean)} and a smallest of {written(least)}."
    )
    remark = (
        "The reason is not training. Bayes's own log-ratios of the next token are nearly affine in "
        f"the log-posterior of the joint (gap {written(joint)} of their variance), but not in the "
        f"log-odds of single concepts, in which the others are summed out (gap {written(gap)})."
    )
    return Verdict(sentence, "not supported" if is_lost else "undecided", remark)


def _key_figures(base: pd.DataFrame, level: float) -> list[KeyFigure]:
    wanted = (
        ("Accuracy of probes", "accuracy", "mean over concepts, held out"),
        ("Smallest ρ²", "trained.rho2_smallest", "states and log-odds of the concepts"),
        ("Gap to concepts", "gap.target_share", "of Bayes's variance, exact"),
        ("Gap to the joint", "gap.share", "of Bayes's variance, exact"),
    )
    found = ((label, pooled(base, name, level), note) for label, name, note in wanted)
    return [KeyFigure(label, v.estimate, v.ci_low, v.ci_high, note) for label, v, note in found]


def _accuracy_section(cells: pd.DataFrame, curves: pd.DataFrame, level: float) -> Section:
    figures = [_curves(cells, curves, knob) for knob in KNOBS]
    tables = [
        Table("Accuracy, and canonical correlations", _by_setting(cells, ACCURACY, level)),
        Table("R² both ways, by setting", _by_setting(cells, BOTH_WAYS, level)),
    ]
    text = (
        "The paper's figures, with intervals over worlds, and the numbers that they leave out. "
        "Accuracy is that of a linear probe of each concept, held out, averaged over concepts; no "
        "label is drawn, it is the expected one under the exact posterior. Muted, in the same "
        "panels: Bayes, that is, the accuracy of the exact posterior, and for the other panels the "
        "log-ratios of the exact predictive in place of the states, the limit of training. What "
        "is wrong with those does not improve with more of it."
    )
    return Section("Recovery, and what it hides", text, figures, tables)


def _by_setting(cells: pd.DataFrame, columns: Mapping[str, str], level: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"setting": setting_name(knob, value)}
            | {title: _written(group, name, level) for title, name in columns.items()}
            for knob, value, group in one_at_a_time(cells)
        ]
    )


def _written(group: pd.DataFrame, name: str, level: float) -> str:
    value = pooled(group, name, level)
    if name == "kl":
        return f"{value.estimate:.1e}".replace("-", "−")
    return written(value, 2)


def _curves(cells: pd.DataFrame, curves: pd.DataFrame, knob: str) -> Figure:
    own = curves
    for other in KNOBS:
        if other != knob:
            own = own[own[other] == _usual(cells, other)]
    panels = [
        Panel("accuracy of probes", "accuracy", "accuracy.bayes"),
        Panel("smallest ρ²", "trained.rho2_smallest", "bayes.rho2_smallest"),
        Panel("R² of the log-odds given f", "trained.r2_backward", "bayes.r2_backward"),
        Panel("R² of f given the log-odds", "trained.r2_forward", "bayes.r2_forward"),
    ]
    shown = {panel.model for panel in panels} | {panel.reference for panel in panels}
    return knob_curves(
        own[own["quantity"].isin(shown)],
        panels,
        knob=knob,
        axis=KNOBS[knob],
        labels=("trained", "Bayes"),
        name=f"recovery_{knob}",
        caption=f"Along the {KNOBS[knob]}: trained networks, and Bayes. Means over worlds and "
        "seeds; bands: intervals over worlds.",
    )


def _budget_section(cells: pd.DataFrame, level: float) -> Section:
    text = (
        "Three errors, apart. The predictor gap is KL from the Bayes predictive, in nats; the "
        "others are shares of the variance of Bayes's log-ratios. The approximation gap is what "
        "the best affine function of the log-posterior leaves of them: of the joint of all "
        "concepts, and of the log-odds of single concepts. The remainder is the variance of the "
        "paper's h_y(x) = E[log p(c|x,y)] under p(c|y), less that of the reference token: with the "
        "slopes that the paper's argument names, this is what is left; other slopes leave less. "
        "Sampling error there is none, all contexts are enumerated."
    )
    return Section(
        "Error budget", text, tables=[Table("By setting", _by_setting(cells, BUDGET, level))]
    )


def _clean_section(clean: pd.DataFrame) -> Section:
    if clean.empty:
        return Section("Without noise", "Not asked.")
    share = clean["impossible"].min()
    text = (
        "The paper reads bits without noise: c ↦ x is a function. Then every bit rules concept "
        f"values out, and in {100 * share:.4g}% of p(x) or more, in each of {len(clean)} worlds, "
        "some log p(value|x) is −∞. No affine function of a finite representation reaches it, so "
        "that in the paper's own simulation the claim has no finite form; accuracy, which asks "
        "only which value leads, does not notice. Here bits are read with noise, so that all "
        "log-odds are finite."
    )
    return Section("Without noise", text)
