"""An option means the same in every command: its name, its help, its type and its default."""

import re
from collections import defaultdict
from typing import Any

import pytest
import typer

from concept_ppl.cli import app

from .command_line import concept_ppl, refused, succeeds

OWN_MEANING = {"--blocks", "--draws", "--replicates", "-o"}
"""Blocks to read, or that learn; draws of chains, of a fit to average over, of held-out contexts;
folder, Parquet, netCDF, CSV."""
OWN_DEFAULT = {"-n", "--top"}
"""How much a command draws is for each to say."""
OWN_BOUNDS = {"-n"}


def commands() -> dict[str, Any]:
    def walk(name: str, command: Any) -> dict[str, Any]:
        if not hasattr(command, "commands"):
            return {name: command}
        inner = (walk(f"{name} {key}", one) for key, one in command.commands.items())
        return {key: one for found in inner for key, one in found.items()}

    return walk("concept-ppl", typer.main.get_command(app))


def test_the_same_option_is_the_same_in_every_command() -> None:
    seen = defaultdict(lambda: defaultdict(set))
    for command in commands().values():
        for option in command.params:
            if not option.opts[0].startswith("-"):
                continue
            flag = option.opts[0]
            if flag in OWN_MEANING:
                continue
            seen[flag]["names"].add((*option.opts, *option.secondary_opts))
            seen[flag]["help"].add(option.help)
            seen[flag]["type"].add(str((option.bare_type(), option.multiple)))
            if flag not in OWN_BOUNDS:
                seen[flag]["bounds"].add((option.min, option.max))
            if flag not in OWN_DEFAULT:
                seen[flag]["default"].add(str(option.default))
    assert len(seen) > 30
    differing = {
        (flag, what): values
        for flag, found in seen.items()
        for what, values in found.items()
        if len(values) > 1
    }
    assert differing == {}


def test_every_command_has_a_seed_and_can_replace_its_output() -> None:
    for name, command in commands().items():
        flags = {flag for option in command.params for flag in option.opts}
        if name not in {"concept-ppl models", "concept-ppl data"}:
            assert {"--seed", "--force", "-o"} <= flags, name


@pytest.mark.parametrize(
    ("command", "better"),
    [
        ("simulate topic_mixture -o a.csv", "Parquet; name it a.parquet"),
        ("posterior topic_mixture t.parquet -o a.JSON", "Parquet; name it a.parquet"),
        ("fit topic_mixture t.parquet -o a.csv", "netCDF; name it a.nc"),
        ("compare a.nc b.nc -o a.parquet", "CSV; name it a.csv"),
        ("check a.nc -o r.html", "a folder; name it r"),
        ("extract smollm2 t.parquet -o s.safetensors", "a folder; name it s"),
        ("analyse s p.parquet -o r.pdf", "a folder; name it r"),
        ("counterfactual smollm2 own -o r.html", "a folder; name it r"),
        *((f"study {name} -o r.html", "a folder; name it r") for name in ("language", "theory")),
    ],
)
def test_an_output_is_not_named_as_if_it_were_something_else(here, command, better) -> None:
    assert refused(command).endswith(f": what is written is {better}.")
    assert list(here.iterdir()) == []


def test_an_output_may_be_named_in_any_other_way(here) -> None:
    for name in ("a.parquet", "b.pq", "c", "d.2024"):
        succeeds(f"simulate topic_mixture -n 3 -o {name}")


@pytest.mark.parametrize(
    ("command", "choices"),
    [
        ("fit m t -o f.nc --method", ("em", "map", "svi", "nuts")),
        ("compare a.nc b.nc --by", ("loo", "waic", "aic", "bic", "held-out")),
        ("study language -o r --world", ("ambiguous", "switching", "fixed")),
        ("extract m t -o s --positions", ("last", "all", "mean", "word")),
        ("extract m t -o s --store", ("float32", "bfloat16", "float16")),
        ("extract m t -o s --dtype", ("float32", "bfloat16", "float16", "auto")),
    ],
)
def test_a_choice_names_what_there_is_to_choose(command, choices, monkeypatch) -> None:
    outcome = concept_ppl(f"{command} nonsense")
    assert outcome.status == 2
    assert all(f"'{choice}'" in outcome.err for choice in choices)
    assert "|".join(choices) in "".join(succeeds(f"{help_of(command)} --help").split())
    assert completed(f"concept-ppl {command} ", monkeypatch).split() == list(choices)


def help_of(command: str) -> str:
    words = command.split()
    return " ".join(words[: 2 if words[0] == "study" else 1])


def completed(line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the shell offers at the end of a line."""
    with monkeypatch.context() as patch:
        patch.setenv("_CONCEPT_PPL_COMPLETE", "complete_bash")
        patch.setenv("COMP_WORDS", line)
        patch.setenv("COMP_CWORD", str(len(line.split())))
        return concept_ppl("").out


def test_the_choices_are_those_of_the_rooms_that_they_are_for() -> None:
    from concept_ppl.analyses.studies.fits.accuracy import HELD_OUT, OF_POINTS, OF_POSTERIORS
    from concept_ppl.analyses.studies.language import WORLDS
    from concept_ppl.bridge.extraction.positions import POSITIONS
    from concept_ppl.bridge.storage.shards import STORED_AS
    from concept_ppl.fitting.methods import METHODS

    known = {
        "--by": {*OF_POSTERIORS, *OF_POINTS, HELD_OUT},
        "--world": set(WORLDS),
        "--positions": set(POSITIONS) - {"marks"},
        "--store": set(STORED_AS),
        "--method": set(METHODS),
    }
    for flag, choices in known.items():
        options = [o for command in commands().values() for o in command.params if flag in o.opts]
        assert options
        for option in options:
            assert set(re.findall(r"'([^']+)'", str(option.bare_type()))) == choices, flag
