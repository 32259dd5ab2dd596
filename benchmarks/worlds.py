"""What can each world tell of a predictor? Writes docs/reference/worlds.md.

    python benchmarks/worlds.py --write

Before any predictor is read, the world itself says what can be learned from it: how much of its
exact log-odds is already told by the posterior, by the most probable value, and by simple readers
of the tokens; and of states planted with a known form, how often a study says what is true. Every
number of the page is computed here, none is typed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concept_ppl import load_model
from concept_ppl.analyses import Estimate, WorldPower, world_power
from concept_ppl.analyses.studies.stages.model_states import is_rule
from concept_ppl.analyses.studies.stages.token_evidence import TOKEN_EVIDENCE, evidence_readers
from concept_ppl.analyses.studies.world import WorldStudy
from concept_ppl.analyses.studies.world.texts import draw_texts

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "worlds.md"
TEXT = Path(__file__).with_suffix(".txt")
N_CONTEXTS = 3000
N_PLANTED = 100
SIGNAL = 0.4

Knobs = dict[str, Any]
WORLDS: dict[str, Sequence[Knobs]] = {
    "word_languages": [{}],
    "switching_languages": [{}],
    "ambiguous_languages": [{}, {"limit": 1.5}, {"limit": 4.0}, {"switch": 0.01}, {"switch": 0.2}],
    "negated_opinions": [{}, {"negation": 0.0}, {"negation": 0.5}, {"strength": 0.5}],
    "codebook": [{}, {"noise": 0.15}, {"noise": 0.5}, {"names": 3}, {"exclusive": False}],
    "hidden_dice": [{}, {"tilt": 0.7}, {"tilt": 2.0}, {"switch": 0.01}, {"switch": 0.2}],
    "topics_and_registers": [
        {},
        {"topic_evidence": 0.6},
        {"topic_evidence": 2.0},
        {"register_evidence": 0.0},
        {"switch": 0.5},
    ],
}
HEADS = (
    "world",
    "posterior",
    "MAP",
    "sum",
    "tokens",
    "pairs",
    "look-up",
    "spread, nats",
    "beyond ±6",
    "entropy, nats",
    "form",
    "learned",
    "false",
)


def measure(name: str, knobs: Knobs, n_contexts: int, n_planted: int) -> WorldPower:
    """Ask a world what it can tell, by so many planted states of each kind."""
    world = load_model(name, **knobs)
    texts = draw_texts(WorldStudy(name, n_contexts=n_contexts), world, quiet)
    readers = evidence_readers(world, texts.contexts, texts.rows, texts.concepts)
    return world_power(
        texts.log_p,
        readers=readers,
        additive=readers[f"{TOKEN_EVIDENCE}: sum"][""],
        signal=SIGNAL,
        n_replicates=n_planted,
        clusters=texts.clusters,
        rules=[reader for reader in readers if is_rule(reader)],
    )


def quiet(done: int, total: int) -> None:
    """Show no progress."""


def row(label: str, power: WorldPower) -> list[str]:
    """Return one line of the table."""
    told = {name: value.estimate for name, value in power.told}
    simple = {
        kind: [v for name, v in told.items() if name.startswith(kind) and not is_rule(name)]
        for kind in ("token", "word", "pair")
    }
    rates = {one.kind: one for one in power.planted}
    ends = [rates[kind] for kind in ("log-posterior", "posterior") if kind in rates]
    shares = [
        told["posterior"],
        told["most probable value"],
        told["token evidence: sum"],
        max(*simple["token"], *simple["word"]),
        max(*simple["token"], *simple["word"], *simple["pair"]),
        max(value for name, value in told.items() if is_rule(name)),
    ]
    rest = [power.spread, power.beyond, power.entropy]
    counted = (
        [min(one.form.estimate for one in ends), ends[0].learned.estimate, false_rate(power)]
        if ends
        else []
    )
    numbers = [f"{share:.3f}" for share in shares] + [f"{one:.2f}" for one in (*rest, *counted)]
    return [label, *numbers, *[""] * (len(HEADS) - 1 - len(numbers))]


def false_rate(power: WorldPower) -> float:
    """Return how often a state that is no log-posterior is called a learned one."""
    return max(one.false.estimate for one in power.planted if one.kind != "log-posterior")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}, else print it")
    parser.add_argument("-n", type=int, default=N_CONTEXTS, help="contexts of each world")
    parser.add_argument("--planted", type=int, default=N_PLANTED, help="states of each form")
    given = parser.parse_args()
    rows, widths = [], []
    for name, settings in WORLDS.items():
        for knobs in settings:
            # Planted states take most of the time: in default settings alone.
            power = measure(name, knobs, given.n, 0 if knobs else given.planted)
            changed = ", ".join(f"{key}={value}" for key, value in knobs.items())
            rows.append(row(f"· `{changed}`" if knobs else f"**`{name}`**", power))
            widths += [half_width(value) for _, value in power.told]
            print(*rows[-1], sep="  ", flush=True)
    page = TEXT.read_text(encoding="utf-8").format(
        table=table(rows),
        n=f"{given.n:,}",
        planted=given.planted,
        signal=SIGNAL,
        widest=f"{max(widths):.3f}".lstrip("0"),
    )
    if given.write:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)


def half_width(value: Estimate) -> float:
    """Return half the width of an interval."""
    return (value.ci_high - value.ci_low) / 2


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [HEADS, ["---"] * len(HEADS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
