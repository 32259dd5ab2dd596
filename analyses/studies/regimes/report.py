"""The report of the map: where the claim holds, where it does not, and what no training made."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concept_ppl.analyses import Estimate
from concept_ppl.analyses.studies.laboratory.bars import (
    LEAST_RHO2,
    agreement_bar,
    bars_section,
    ceiling_bars,
    form_of,
    negative_control,
    positive_control,
    shuffled_bar,
    written,
)
from concept_ppl.analyses.studies.laboratory.over_worlds import (
    groups,
    pooled,
    pooled_rows,
    row,
    tidy,
)
from concept_ppl.analyses.studies.laboratory.runs import Extent
from concept_ppl.analyses.studies.laboratory.sections import learned_section, methods_section
from concept_ppl.reports import (
    Figure,
    KeyFigure,
    Layer,
    Report,
    Section,
    Table,
    Tone,
    Verdict,
    regime_maps,
)

QUESTION = "When does next-token prediction learn the log-posterior of its concepts?"
NAMES = {
    "topic_mixture": "fixed concept",
    "hidden_concepts": "concept that moves",
    "concept_dag": "single concepts",
}
WORLD_KNOBS = ["family", "y_determinism"]
BOTH = ["y_determinism", "x_informativeness"]
AXES = ("how far y determines c", "how much x tells of c")
EXACT = (
    *("gap.share", "gap.target_share", "remainder.share", "bayes.rho2_smallest"),
    *("bayes.rho2_mean", "bayes.r2_forward", "bayes.r2_backward", "bayes.alpha"),
    *("bayes.posterior.r2_forward", "bayes.posterior.rho2_mean", "information"),
    "next_information",
)
TRAINED = (
    *("kl", "kl.share", "trained.rho2_smallest", "trained.rho2_mean", "trained.r2_backward"),
    *("trained.r2_forward", "trained.posterior.r2_forward", "trained.posterior.rho2_mean"),
    *("trained.alpha", "held_out.rho2_smallest", "held_out.r2_backward", "held_out.r2_forward"),
    *("untrained.rho2_smallest", "untrained.rho2_mean", "shuffled.rho2_mean", "control.best"),
    *("difference", "increment", "ceiling.r2_backward", "ceiling.r2_forward"),
)


def regimes_report(frame: pd.DataFrame, extent: Extent, manifest: Mapping[str, Any]) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    level = extent.level
    on_map = frame[frame["family"] == "topic_mixture"]
    trained = frame[frame["trained"]]
    square = on_map[on_map["trained"] & (on_map["width"] == RANK)]
    at = square[square["x_informativeness"] == CONTROL_INFORMATIVENESS]
    copies, noisy = (at[at["y_determinism"] == d] for d in (COPY, NOISY))
    exact = pooled_rows(on_map[~on_map["trained"]], EXACT, BOTH, level, study="regimes")
    networks = pooled_rows(square, TRAINED, BOTH, level, study="regimes")
    by_width = pooled_rows(
        on_map[on_map["trained"]],
        TRAINED,
        ["y_determinism", "x_informativeness", "width"],
        level,
        study="regimes",
    )
    others = frame[frame["family"] != "topic_mixture"]
    elsewhere = pooled_rows(
        others, (*EXACT, *TRAINED), ["family", "y_determinism"], level, study="regimes"
    )
    bars = [
        *positive_control(copies, level),
        *negative_control(noisy, level),
        shuffled_bar(trained),
        *ceiling_bars(trained),
        agreement_bar(trained, level),
    ]
    return Report(
        title="The regimes of the claim",
        question=QUESTION,
        verdict=_verdict(copies, noisy, level),
        key_figures=_key_figures(copies, noisy, level),
        sections=[
            bars_section(bars),
            _exact_section(exact),
            _trained_section(networks),
            _width_section(on_map, level),
            learned_section(trained, _groups(trained), level),
            _elsewhere_section(others, level),
        ],
        results=tidy([exact, by_width, elsewhere, *_control_rows(copies, noisy, level)]),
        manifest=manifest,
        methods=methods_section(extent, WORLDS.format(count=len(extent.world_numbers))),
    )


WORLDS = (
    "Map: `topic_mixture` with four topics and contexts of four tokens out of five, 625 of them, "
    "{count} random worlds each. y is the topic's number with the probability on the vertical "
    "axis, else any number; a topic's token distribution is its own by the share on the "
    "horizontal axis. Knobs change no random draw, so that a world differs from its neighbours on "
    "the map in nothing else. Networks: embedding and MLP, one hidden layer of 64, f as wide as "
    "the contrasts have directions unless said otherwise. Beside the map: `hidden_concepts`, three "
    "states, and `concept_dag`, two binary concepts that depend on each other in most worlds, each "
    "read with the other summed out; contexts of the same size."
)
RANK, CONTROL_INFORMATIVENESS, NOISY, COPY = 3, 0.5, 0.3, 1.0


def _verdict(copies: pd.DataFrame, noisy: pd.DataFrame, level: float) -> Verdict:
    smallest = pooled(copies, "trained.rho2_smallest", level)
    alpha = pooled(noisy, "trained.alpha", level)
    lost = pooled(noisy, "trained.rho2_smallest", level)
    gap = pooled(noisy, "gap.share", level)
    is_limited = form_of(alpha) not in {"the log-posterior", "undecided", "no interval"}
    tone = _tone(smallest, is_limited)
    opening = {
        "partly": "Only where the next token tells the concept",
        "not supported": "Not even where the next token tells the concept",
    }.get(tone, "In both controls")
    sentence = (
        f"{opening}: with y = c the smallest ρ² of trained states and log-odds is "
        f"{written(smallest)}; with noisy y it is {written(lost)}, and the states follow the power "
        f"{written(alpha)} of the posterior."
    )
    remark = (
        f"With noisy y the best affine function of the log-posterior leaves {written(gap)} of the "
        "variance of Bayes's own log-ratios: no amount of training closes that gap. What is linear "
        "here is not therefore learned; see the table of controls."
    )
    return Verdict(sentence, tone, remark)


def _tone(smallest: Estimate, is_limited: bool) -> Tone:
    """Say how far the claim holds: nowhere, in one regime alone, or who knows."""
    if smallest.ci_low >= LEAST_RHO2:
        return "partly" if is_limited else "undecided"
    return "not supported" if smallest.ci_high < LEAST_RHO2 else "undecided"


def _key_figures(copies: pd.DataFrame, noisy: pd.DataFrame, level: float) -> list[KeyFigure]:
    wanted = (
        ("Smallest ρ², y = c", copies, "trained.rho2_smallest", "trained, all contexts"),
        ("α̂, y = c", copies, "trained.alpha", "0 is the log-posterior"),
        ("α̂, noisy y", noisy, "trained.alpha", "1 is the posterior"),
        ("Gap, noisy y", noisy, "gap.share", "of Bayes's variance, exact"),
    )
    found = ((label, pooled(cells, name, level), note) for label, cells, name, note in wanted)
    return [KeyFigure(label, v.estimate, v.ci_low, v.ci_high, note) for label, v, note in found]


def _exact_section(rows: pd.DataFrame) -> Section:
    layers = [
        Layer("approximation gap (share)", "gap.share", 0.3),
        Layer("power α̂ of the posterior", "bayes.alpha"),
        Layer("smallest ρ², log-posterior", "bayes.rho2_smallest"),
        Layer("mean ρ², posterior itself", "bayes.posterior.rho2_mean"),
    ]
    text = (
        "No network was trained here: these are the log-ratios of the Bayes predictive, what every "
        "predictor converges to, by enumeration. Where y determines c (top row) they are the "
        "log-odds themselves, whatever x tells. Below, mixing in noise bounds log p(y|x) while "
        "log p(c|x) is not bounded: the more x tells, the wider the gap, and the power that fits "
        "best moves from the log-posterior (0) towards the posterior (1)."
    )
    return Section("The map, exactly", text, [_map("exact_map", rows, layers, "Bayes's limit")])


def _trained_section(rows: pd.DataFrame) -> Section:
    layers = [
        Layer("smallest ρ², trained", "trained.rho2_smallest"),
        Layer("power α̂, trained", "trained.alpha"),
        Layer("smallest ρ², untrained", "untrained.rho2_smallest"),
        Layer("mean ρ², shuffled", "shuffled.rho2_mean"),
    ]
    columns = ["y_determinism", "x_informativeness", "quantity", "estimate", "ci_low", "ci_high"]
    wanted = rows[
        rows["quantity"].isin(["kl", "trained.rho2_smallest", "trained.alpha", "difference"])
    ]
    text = (
        "Networks trained by next-token prediction alone, on the same axes, and two controls: the "
        "same network before its first step, and posteriors shuffled between contexts. Training "
        "follows Bayes, to the log-posterior or away from it."
    )
    table = Table("Numbers of the trained map", wanted[columns])
    figure = _map("trained_map", rows, layers, "Trained networks and controls")
    return Section("Trained networks on the map", text, [figure], [table])


def _map(name: str, rows: pd.DataFrame, layers: list[Layer], what: str) -> Figure:
    return regime_maps(
        rows,
        layers,
        rows=BOTH[0],
        columns=BOTH[1],
        axes_names=AXES,
        marked={COPY: "+", NOISY: "−"},
        name=name,
        caption=f"{what}, means over worlds. Framed rows: + the positive control, y = c; − the "
        "negative control, noisy y. The data behind the figure has the intervals.",
    )


def _width_section(on_map: pd.DataFrame, level: float) -> Section:
    cells = on_map[on_map["trained"] & (on_map["x_informativeness"] == CONTROL_INFORMATIVENESS)]
    cells = cells[cells["seed"] == 0].sort_values(["y_determinism", "width"])
    quantities = {
        "KL, nats": "kl",
        "smallest ρ²": "trained.rho2_smallest",
        "R²(Z|F)": "trained.r2_backward",
        "R²(F|Z)": "trained.r2_forward",
    }
    rows = []
    for knobs, group in groups(cells, ["y_determinism", "width"]):
        values = {title: _cell(group, name, level) for title, name in quantities.items()}
        told, width = knobs["y_determinism"], int(knobs["width"])
        rows.append({"y": told, "width": width, **values})
    text = (
        f"The contrasts vary in {RANK} directions. A representation that is narrower must lose one "
        "of them, whatever the regime: its smallest ρ² is 0. One that is wider has room for what "
        "is no affine function of the log-posterior, and keeps some of its first random weights: "
        "the log-odds can be read off it (backward R²) better than its own variance is explained "
        "by them (forward R²)."
    )
    table = Table("Width of the representation", pd.DataFrame(rows), {"y": ".1f"}, {}, SMALLER)
    return Section("How wide is f", text, tables=[table])


SMALLER = (
    "y: how far it determines c. One network a world; population numbers, intervals over worlds."
)


def _cell(group: pd.DataFrame, name: str, level: float, decimals: int = 3) -> str:
    value = pooled(group, name, level)
    if name == "kl":
        return f"{value.estimate:.1e}".replace("-", "−")
    return written(value, decimals)


def _groups(trained: pd.DataFrame) -> dict[str, pd.DataFrame]:
    square = trained[(trained["family"] != "topic_mixture") | (trained["width"] == RANK)]
    return {world_name(knobs): group for knobs, group in groups(square, WORLD_KNOBS)}


def world_name(knobs: Mapping[str, Any]) -> str:
    """Name a world by its family and by what its next token tells."""
    return f"{NAMES[knobs['family']]}, {_next_token(knobs['y_determinism'])}"


def _next_token(determinism: float) -> str:
    if determinism < 0:
        return "y the next token of the process"
    return "y = c" if determinism == 1 else f"y tells c to {determinism:g}"


def _elsewhere_section(others: pd.DataFrame, level: float) -> Section:
    exact = {
        "gap to the joint": "gap.share",
        "gap to what is asked": "gap.target_share",
        "smallest ρ²": "bayes.rho2_smallest",
        "α̂": "bayes.alpha",
    }
    trained = {
        "KL, nats": "kl",
        "smallest ρ²": "trained.rho2_smallest",
        "R²(Z|F)": "trained.r2_backward",
        "α̂": "trained.alpha",
    }
    text = (
        "In these worlds a sum over tokens does not give the log-odds. With y = c the claim holds "
        "for the joint of all concepts at once, exactly. It does not hold for single concepts of "
        "a dependent joint, read with the others summed out: log p(c_1|x) is a log-sum-exp of the "
        "joint, and no affine function of it, although y determines every concept."
    )
    tables = [
        Table(caption, pd.DataFrame(_by_world(others, columns, level)))
        for caption, columns in (("Bayes's limit, exactly", exact), ("Trained", trained))
    ]
    return Section("Worlds that are not additive", text, tables=tables)


def _by_world(
    others: pd.DataFrame, columns: Mapping[str, str], level: float
) -> list[dict[str, str]]:
    return [
        {"world": world_name(knobs)}
        | {title: _cell(group, name, level, 2) for title, name in columns.items()}
        for knobs, group in groups(others, WORLD_KNOBS)
    ]


def _control_rows(copies: pd.DataFrame, noisy: pd.DataFrame, level: float) -> list[pd.DataFrame]:
    return [
        row("regimes_control", name, term, pooled(cells, name, level))
        for term, cells in (("y = c", copies), ("noisy y", noisy))
        for name in (*TRAINED, "gap.share", "gap.squared", "remainder.share")
        if pooled(cells, name, level).n
    ]
