"""The report on architectures: the same world, the same numbers of each, side by side."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concept_ppl.analyses.studies.laboratory.bars import (
    LEAST_RHO2,
    bars_section,
    ceiling_bars,
    shuffled_bar,
    written,
)
from concept_ppl.analyses.studies.laboratory.measures import CONTROLS
from concept_ppl.analyses.studies.laboratory.over_worlds import SEED, pooled, pooled_rows, tidy
from concept_ppl.analyses.studies.laboratory.runs import Extent
from concept_ppl.analyses.studies.laboratory.sections import (
    EACH_NOTE,
    LEARNED,
    SHORT,
    methods_section,
    verdict_of,
)
from concept_ppl.reports import KeyFigure, Report, Section, Table, Tone, Verdict, number

QUESTION = "Does every architecture learn the log-posterior where theory says that it should?"
NAMES = {
    "mlp": "MLP (the paper's)",
    "gpt_neox": "GPT-NeoX (Pythia's)",
    "llama": "Llama",
    "qwen2": "Qwen2",
    "deepseek_v3": "DeepSeek-V3",
    "gpt2": "GPT-2",
    "mamba": "Mamba",
}
QUANTITIES = (
    *("kl", "kl.share", "steps", "trained.rho2_smallest", "trained.rho2_mean"),
    *("trained.r2_backward", "trained.r2_forward", "trained.alpha"),
    *("held_out.rho2_smallest", "held_out.rho2_mean", "held_out.r2_backward"),
    *("held_out.r2_forward", "untrained.rho2_smallest", "untrained.rho2_mean"),
    *("control.best", "difference", "increment", "gap.share", "gap.squared"),
    *("shuffled.rho2_mean", "ceiling.r2_backward", "ceiling.r2_forward"),
)
UNITS = (SEED,)
BY = ["architecture"]


def families_report(frame: pd.DataFrame, extent: Extent, manifest: Mapping[str, Any]) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    level = extent.level
    rows = pooled_rows(frame, QUANTITIES, BY, level, study="families", units=UNITS)
    return Report(
        title="Families of predictors",
        question=QUESTION,
        verdict=_verdict(frame, level),
        key_figures=_key_figures(frame, level),
        sections=[
            bars_section([shuffled_bar(frame), *ceiling_bars(frame)]),
            _recovery_section(frame, level),
            _budget_section(frame, level),
            _controls_section(frame, level),
        ],
        results=tidy([rows]),
        manifest=manifest,
        methods=methods_section(extent, WORLD_TEXT.format(seeds=frame[SEED].nunique())),
    )


WORLD_TEXT = (
    "One world: `hidden_concepts`, three states, four tokens, contexts of four tokens, 256 of "
    "them; the next token names the last state (y = c), and f is as wide as the log-odds have "
    "columns, two. The world is one, so that here the intervals are over {seeds} networks of each "
    "architecture, that differ in their first weights, and speak of this world alone. The "
    "transformers and Mamba are the decoders of the transformers library, from random weights, of "
    "width 32 with two blocks, Mamba with one; a linear map stands between the final norm and the "
    "unembedding."
)


def _of(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(NAMES[str(name)], group) for name, group in frame.groupby("architecture", sort=False)]


def _verdict(frame: pd.DataFrame, level: float) -> Verdict:
    found = {
        name: pooled(group, "trained.rho2_smallest", level, UNITS) for name, group in _of(frame)
    }
    passed = [name for name, value in found.items() if value.ci_low >= LEAST_RHO2]
    worst = min(found, key=lambda name: found[name].estimate)
    best = max(found, key=lambda name: found[name].estimate)
    sentence = (
        f"{len(passed)} of {len(found)} architectures keep every direction of the log-odds (lower "
        f"bound of the smallest ρ² at least {LEAST_RHO2}); it is {written(found[best])} in {best} "
        f"and {written(found[worst])} in {worst}."
    )
    kl = frame.groupby("architecture")["kl"].mean()
    remark = (
        "In this world the approximation gap is zero, so that what is missing is missing from "
        f"training: mean KL to Bayes runs from {kl.min():.1e} to {kl.max():.1e} nats".replace(
            "e-", "e−"
        )
        + ", and recovery follows it."
    )
    tone: Tone = "undecided"
    if passed:
        tone = "supported" if len(passed) == len(found) else "partly"
    elif all(value.ci_high < LEAST_RHO2 for value in found.values()):
        tone = "not supported"
    return Verdict(sentence, tone, remark)


def _key_figures(frame: pd.DataFrame, level: float) -> list[KeyFigure]:
    figures = []
    for name, group in list(_of(frame))[:4]:
        value = pooled(group, "trained.rho2_smallest", level, UNITS)
        figures.append(KeyFigure("Smallest ρ²", value.estimate, value.ci_low, value.ci_high, name))
    return figures


def _table(frame: pd.DataFrame, caption: str, columns: Mapping[str, str], level: float) -> Table:
    rows = []
    for name, group in _of(frame):
        values = {}
        for title, quantity in columns.items():
            value = pooled(group, quantity, level, UNITS)
            short = quantity in {"kl", "gap.squared"}
            values[title] = f"{value.estimate:.1e}".replace("-", "−") if short else written(value)
        rows.append({"architecture": name, **values})
    return Table(caption, pd.DataFrame(rows))


def _recovery_section(frame: pd.DataFrame, level: float) -> Section:
    every = {
        "smallest ρ²": "trained.rho2_smallest",
        "R²(Z|F)": "trained.r2_backward",
        "R²(F|Z)": "trained.r2_forward",
    }
    besides = {
        "mean ρ²": "trained.rho2_mean",
        "smallest ρ², held out": "held_out.rho2_smallest",
        "α̂": "trained.alpha",
    }
    text = (
        "Every direction of the log-odds, kept or not, in the population of all contexts, and held "
        "out. α̂ is the power of the posterior that states follow; 0 is the log-posterior."
    )
    tables = [
        _table(frame, "Recovery by architecture", every, level),
        _table(frame, "Recovery by architecture, continued", besides, level),
    ]
    return Section("Recovery", text, tables=tables)


def _budget_section(frame: pd.DataFrame, level: float) -> Section:
    columns = {
        "predictor gap, nats": "kl",
        "approximation gap, nats²": "gap.squared",
        "R² of log p(y|x) given f": "ceiling.r2_backward",
        "R² of f given log p(y|x)": "ceiling.r2_forward",
    }
    text = (
        "The approximation gap is the world's and the same for all; the predictor gap is what an "
        "architecture leaves after the same number of steps. Sampling error there is none: all "
        "contexts are enumerated."
    )
    return Section("Error budget", text, tables=[_table(frame, "By architecture", columns, level)])


def _controls_section(frame: pd.DataFrame, level: float) -> Section:
    rows, each = [], []
    for name, group in _of(frame):
        gain = pooled(group, "difference", level, UNITS)
        rows.append(
            {
                "architecture": name,
                "difference": written(gain, 2),
                "verdict": verdict_of(gain.ci_low, gain.ci_high),
                "trained": written(pooled(group, "held_out.r2_backward", level, UNITS), 2),
                "best control": written(pooled(group, "control.best", level, UNITS), 2),
            }
        )
        each.append(
            {"architecture": name}
            | {
                short: number(pooled(group, f"control.{control}", level, UNITS).estimate, 2)
                for short, control in zip(SHORT, CONTROLS, strict=True)
            }
        )
    learned = sum(row["verdict"] == LEARNED for row in rows)
    text = (
        f"“Learned” is said of {learned} of {len(rows)} architectures, where trained minus best "
        "control has an interval above 0. The concept moves, so that no sum over tokens gives the "
        "log-odds; but the hidden layer of an untrained network that is wide beside the number of "
        "contexts can come close, and is among the controls."
    )
    tables = [
        Table("Trained minus best control, held-out R²", pd.DataFrame(rows)),
        Table("Each control", pd.DataFrame(each), note=EACH_NOTE),
    ]
    return Section("Linear, or learned", text, tables=tables)
