"""An option means the same in every command: its name, its help, its type and its default."""

from collections import defaultdict
from typing import Any

import typer

from concept_ppl.cli import app

OWN_MEANING = {"--blocks", "--draws", "--replicates", "-o"}
"""Blocks to read, or that learn; draws of chains, of a fit to average over, of held-out contexts; a
table only where asked for."""
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
        if name != "concept-ppl models":
            assert {"--seed", "--force", "-o"} <= flags, name
