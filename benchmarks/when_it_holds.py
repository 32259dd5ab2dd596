"""When does the claim hold? Writes the page that says so from the finished cells of three studies.

    concept-ppl study theory -o r1
    concept-ppl study regimes -o r2
    concept-ppl study families -o r3
    python benchmarks/when_it_holds.py r1 r2 r3 --write

Every number of the page is filled in here, none is typed: `when_it_holds.txt` has names in braces.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from concept_ppl.analyses.studies.families.plan import FAMILIES
from concept_ppl.analyses.studies.families.report import NAMES as FAMILY_NAMES
from concept_ppl.analyses.studies.families.report import UNITS
from concept_ppl.analyses.studies.laboratory.bars import (
    Bar,
    agreement_bar,
    ceiling_bars,
    form_of,
    negative_control,
    positive_control,
    shuffled_bar,
    written,
)
from concept_ppl.analyses.studies.laboratory.cells import in_environment, read_cells
from concept_ppl.analyses.studies.laboratory.over_worlds import cell_frame, groups, pooled
from concept_ppl.analyses.studies.laboratory.runs import Extent, LaboratoryStudy, cells_beside
from concept_ppl.analyses.studies.laboratory.sections import LEARNED, verdict_of
from concept_ppl.analyses.studies.regimes.plan import (
    CONTROL_INFORMATIVENESS,
    COPY,
    NOISY,
    RANK,
    REGIMES,
)
from concept_ppl.analyses.studies.regimes.report import WORLD_KNOBS, world_name
from concept_ppl.analyses.studies.theory.plan import THEORY
from concept_ppl.analyses.studies.theory.report import base_cells, one_at_a_time, setting_name
from concept_ppl.distributed import Store

TEXT = Path(__file__).with_suffix(".txt")
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "when-it-holds.md"
LEVEL = 0.95
NOT_RUN = "Not measured yet: run `study families -o r3`, then name `r3` in the last command above."
Rows = Sequence[Mapping[str, object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("theory", type=Path, help="output of `study theory`")
    parser.add_argument("regimes", type=Path, help="output of `study regimes`")
    parser.add_argument(
        "families", type=Path, nargs="?", help="output of `study families`; without it, no table"
    )
    parser.add_argument("--full", action="store_true", help="the studies were run with --full")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}, else print it")
    asked = parser.parse_args()
    extent = Extent(full=asked.full)
    theory = frame_of(THEORY, extent, asked.theory)
    regimes = frame_of(REGIMES, extent, asked.regimes)
    families = frame_of(FAMILIES, extent, asked.families) if asked.families else None
    page = TEXT.read_text(encoding="utf-8").format(**numbers(theory, regimes, families))
    if asked.write:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)


def frame_of(study: LaboratoryStudy, extent: Extent, output: Path) -> pd.DataFrame:
    """The cells of a study, as they were answered where its report says."""
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    plan = in_environment(study.plan(extent), manifest["arguments"]["environment"])
    return cell_frame(read_cells(plan, Store(cells_beside(output))))


def numbers(
    theory: pd.DataFrame, regimes: pd.DataFrame, families: pd.DataFrame | None
) -> dict[str, str]:
    on_map = regimes[regimes["family"] == "topic_mixture"]
    exact = on_map[~on_map["trained"]]
    trained = regimes[regimes["trained"]]
    square = on_map[on_map["trained"] & (on_map["width"] == RANK)]
    at = square[square["x_informativeness"] == CONTROL_INFORMATIVENESS]
    copies, noisy = (at[at["y_determinism"] == d] for d in (COPY, NOISY))
    bits = theory[theory["trained"]]
    controls = _control_rows(regimes)
    base, clean = base_cells(bits), theory[~theory["trained"]]
    bars = [
        *positive_control(copies, LEVEL),
        *negative_control(noisy, LEVEL),
        agreement_bar(trained, LEVEL),
        *_named("regimes", [shuffled_bar(trained), *ceiling_bars(trained)]),
        *_named("theory", [shuffled_bar(bits), *ceiling_bars(bits)]),
    ]
    if families is not None:
        bars += _named("families", [shuffled_bar(families), *ceiling_bars(families)])
    return {
        "worlds": str(copies["world"].nunique()),
        "networks": str(copies["seed"].nunique()),
        "bars": table(_bar_rows(bars)),
        "copy_least": _of(copies, "trained.rho2_smallest"),
        "copy_alpha": _of(copies, "trained.alpha"),
        "copy_gap": f"{copies['gap.squared'].max():.1e}",
        "noisy_level": f"{NOISY:g}",
        "noisy_least": _of(noisy, "trained.rho2_smallest"),
        "noisy_alpha": _of(noisy, "trained.alpha"),
        "noisy_form": form_of(pooled(noisy, "trained.alpha", LEVEL)),
        "noisy_gap": _of(noisy, "gap.share"),
        "noisy_log": _of(noisy, "trained.rho2_mean"),
        "noisy_plain": _of(noisy, "trained.posterior.rho2_mean"),
        "gap_map": _grid(exact, "gap.share"),
        "alpha_map": _grid(exact, "bayes.alpha"),
        "width": table(_width_rows(on_map)),
        "controls": table(controls),
        "learned_worlds": str(sum(row["verdict"] == LEARNED for row in controls)),
        "control_worlds": str(len(controls)),
        "elsewhere": table(_elsewhere_rows(regimes)),
        "settings": table(_setting_rows(bits)),
        "base_accuracy": _of(base, "accuracy"),
        "base_bayes": _of(base, "accuracy.bayes"),
        "base_least": _of(base, "trained.rho2_smallest"),
        "base_joint_gap": _of(base, "gap.share"),
        "base_gap": _of(base, "gap.target_share"),
        "base_remainder": _of(base, "remainder.share"),
        "base_joint": _of(base, "trained.joint.r2_forward"),
        "base_concepts": _of(base, "trained.r2_forward"),
        "clean_share": f"{100 * clean['impossible'].min():.4g}%",
        "clean_worlds": str(len(clean)),
        "families": NOT_RUN if families is None else _families(families),
        "learned_cells": str(int((trained["difference.low"] > 0).sum())),
        "trained_cells": str(len(trained)),
    }


def _families(families: pd.DataFrame) -> str:
    return (
        f"{families['seed'].nunique()} networks of each architecture, the same number of steps.\n\n"
        f"{table(_family_rows(families))}\n\n"
        "What an architecture misses, it misses through its predictor gap."
    )


def _named(study: str, bars: Iterable[Bar]) -> list[Bar]:
    return [Bar(f"{study}: {bar.what}", bar.bar, bar.reached, bar.met) for bar in bars]


def _bar_rows(bars: Iterable[Bar]) -> Rows:
    return [
        {"what": b.what, "bar": b.bar, "reached": b.reached, "met": "yes" if b.met else "no"}
        for b in bars
    ]


def _width_rows(on_map: pd.DataFrame) -> Rows:
    own = on_map[on_map["trained"] & (on_map["x_informativeness"] == CONTROL_INFORMATIVENESS)]
    own = own[(own["seed"] == 0) & own["y_determinism"].isin([NOISY, COPY])]
    own = own.sort_values(["y_determinism", "width"], kind="stable")
    return [
        {
            "y determines c": f"{knobs['y_determinism']:g}",
            "width of f": f"{knobs['width']:g}",
            "KL, nats": f"{pooled(group, 'kl', LEVEL).estimate:.1e}",
            "smallest ρ²": _of(group, "trained.rho2_smallest"),
            "R²(Z\\|F)": _of(group, "trained.r2_backward"),
            "R²(F\\|Z)": _of(group, "trained.r2_forward"),
            "α̂": _of(group, "trained.alpha"),
        }
        for knobs, group in groups(own, ["y_determinism", "width"])
    ]


def _control_rows(regimes: pd.DataFrame) -> Rows:
    own = regimes[regimes["trained"]]
    own = own[(own["family"] != "topic_mixture") | (own["width"] == RANK)]
    rows = []
    for knobs, group in groups(own, WORLD_KNOBS):
        gain = pooled(group, "difference", LEVEL)
        rows.append(
            {
                "world": world_name(knobs),
                "trained": _of(group, "held_out.r2_backward"),
                "untrained": _of(group, "control.untrained network"),
                "its hidden layer": _of(group, "control.untrained network, hidden layer"),
                "bag of tokens": _of(group, "control.bag of tokens, sum"),
                "trained − best control": written(gain),
                "verdict": verdict_of(gain.ci_low, gain.ci_high),
            }
        )
    return rows


def _elsewhere_rows(regimes: pd.DataFrame) -> Rows:
    others = regimes[regimes["family"] != "topic_mixture"]
    return [
        {
            "world": world_name(knobs),
            "gap to the joint": _of(group, "gap.share"),
            "gap to what is asked": _of(group, "gap.target_share"),
            "smallest ρ², Bayes": _of(group, "bayes.rho2_smallest"),
            "smallest ρ², trained": _of(group, "trained.rho2_smallest"),
            "α̂, trained": _of(group, "trained.alpha"),
        }
        for knobs, group in groups(others, WORLD_KNOBS)
    ]


def _setting_rows(bits: pd.DataFrame) -> Rows:
    return [
        {
            "setting": setting_name(knob, value),
            "accuracy": _of(group, "accuracy"),
            "Bayes": _of(group, "accuracy.bayes"),
            "smallest ρ²": _of(group, "trained.rho2_smallest"),
            "R²(Z\\|F)": _of(group, "trained.r2_backward"),
            "gap to the joint": _of(group, "gap.share"),
            "gap to the concepts": _of(group, "gap.target_share"),
        }
        for knob, value, group in one_at_a_time(bits)
    ]


def _family_rows(families: pd.DataFrame) -> Rows:
    rows = []
    for knobs, group in groups(families, ["architecture"]):
        gain = pooled(group, "difference", LEVEL, UNITS)
        rows.append(
            {
                "architecture": FAMILY_NAMES[knobs["architecture"]],
                "KL, nats": f"{pooled(group, 'kl', LEVEL, UNITS).estimate:.1e}",
                "smallest ρ²": written(pooled(group, "trained.rho2_smallest", LEVEL, UNITS)),
                "R²(Z\\|F)": written(pooled(group, "trained.r2_backward", LEVEL, UNITS)),
                "α̂": written(pooled(group, "trained.alpha", LEVEL, UNITS)),
                "trained − best control": written(gain),
                "verdict": verdict_of(gain.ci_low, gain.ci_high),
            }
        )
    return rows


def _grid(exact: pd.DataFrame, quantity: str) -> str:
    rows = []
    for up, own in groups(exact.sort_values("y_determinism", ascending=False), ["y_determinism"]):
        row: dict[str, object] = {"y determines c": f"{up['y_determinism']:g}"}
        for right, group in groups(own.sort_values("x_informativeness"), ["x_informativeness"]):
            row[f"x tells {right['x_informativeness']:g}"] = _of(group, quantity)
        rows.append(row)
    return table(rows)


def _of(cells: pd.DataFrame, quantity: str) -> str:
    return written(pooled(cells, quantity, LEVEL))


def table(rows: Rows) -> str:
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(row[head]) for head in heads) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
