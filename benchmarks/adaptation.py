"""Write docs/explanation/adaptation.md from the reports of `concept-ppl study adaptation`.

    python benchmarks/adaptation.py REPORT… --write

Every number of the page is read from the results of the reports, in the order in which they are
given; none is typed.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from concept_ppl.reports import interval

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "adaptation.md"
TEXT = Path(__file__).with_suffix(".txt")
COLUMNS = {
    "predictor gap, nats": ("predictor_gap", ""),
    "R²(Z\\|F)": ("r2_backward", ""),
    "smallest ρ²": ("rho2_smallest", ""),
    "α̂": ("alpha", ""),
    "R² less control": ("r2_difference", "best"),
    "R² less ceiling": ("r2_difference", "ceiling"),
    "its own posterior from the exact one, nats": ("own_distance", ""),
}

SECTION = """## `{world}`, {model}

`{command}`, on {device}: {learn}, {steps:,} steps of {batch} texts,
peak rate {rate:g}, {n:,} held-out texts.

{table}

A predictor that knows how often each word follows, and nothing of the text, has a gap of
{uninformed} nats. Before training the model gave {masses[0]} of its next-word probability
to the words that may follow, after it {masses[1]}. R² of Bayes's own log-ratios given the states
went from {bayes[0]} to {bayes[1]}."""


class Reported:
    """The results and the manifest of one report."""

    def __init__(self, folder: Path) -> None:
        self.results = pd.read_csv(folder / "results.csv").fillna({"control": ""})
        self.manifest: Mapping[str, Any] = json.loads((folder / "manifest.json").read_text())

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What was asked for."""
        arguments: Mapping[str, Any] = self.manifest["arguments"]
        return arguments

    def steps(self, kind: str) -> list[int]:
        """Steps at which a training was looked at."""
        terms = self.results["term"]
        own = terms[terms.str.startswith(f"{kind}, seed {self.arguments['seed']}, ")]
        return sorted({int(term.rpartition(" ")[2]) for term in own})

    def written(self, kind: str, step: int, quantity: str, control: str = "") -> str:
        """Return an estimate with its interval; a dash where there is none."""
        rows = self.results
        row = rows[
            (rows["term"] == f"{kind}, seed {self.arguments['seed']}, step {step}")
            & (rows["quantity"] == quantity)
            & (rows["control"] == control)
        ]
        if row.empty:
            return "–"
        one = row.iloc[0]
        return interval(one["estimate"], one["ci_low"], one["ci_high"])

    def last(self, kind: str, quantity: str, control: str = "") -> str:
        """Return an estimate after the training."""
        return self.written(kind, self.steps(kind)[-1], quantity, control)


def table(report: Reported) -> str:
    """Return the looks of the training on the world's texts, its last on exchanged ones, Bayes."""
    rows = [["step", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    looks = [(f"{step:,}", "world", step) for step in report.steps("world")]
    end = report.steps("exchanged")[-1]
    for name, kind, step in [
        *looks,
        (f"{end:,}, exchanged texts", "exchanged", end),
        ("untrained twin", "untrained", 0),
        ("Bayes", "ceiling", 0),
    ]:
        rows.append([name, *(report.written(kind, step, *column) for column in COLUMNS.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def section(report: Reported) -> str:
    """Return what one report found."""
    arguments = report.arguments
    recipe = arguments["recipe"]
    model = arguments["language_model"] or (
        f"a Llama of {arguments['word_level']['blocks']} blocks and width "
        f"{arguments['word_level']['width']}, from random weights"
    )
    learn = "every weight learns" if recipe["blocks"] is None else "its last {blocks} blocks learn"
    learn = learn.format(**recipe) + (
        f" by LoRA of rank {recipe['lora']}" if recipe["lora"] else ""
    )
    return SECTION.format(
        world=arguments["world"],
        model=model,
        command=report.manifest["command"],
        device=report.manifest["language_model"]["device"],
        learn=learn,
        steps=recipe["steps"],
        batch=recipe["batch"],
        rate=recipe["learning_rate"],
        n=arguments["n_contexts"],
        table=table(report),
        uninformed=report.written("ceiling", 0, "uninformed_gap"),
        masses=(report.written("world", 0, "mass"), report.last("world", "mass")),
        bayes=(report.written("world", 0, "r2_bayes"), report.last("world", "r2_bayes")),
    )


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    sections = "\n\n".join(section(Reported(folder)) for folder in arguments.reports)
    page = TEXT.read_text(encoding="utf-8").replace("{sections}", sections)
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
