"""An option means the same in every command: its name, its help, its type and its default."""

from collections import defaultdict

import click
import typer

from concept_ppl.cli import app

OWN_DEFAULT = {"-n", "--top", "--draws", "--replicates", "--languages", "-o"}
"""How much is drawn is for each command to say; compare writes its table only where asked."""
OWN_HELP = {"--draws", "--replicates", "-o", "-n"}


def commands() -> dict[str, click.Command]:
    def walk(name: str, command: click.Command) -> dict[str, click.Command]:
        if not hasattr(command, "commands"):
            return {name: command}
        inner = (walk(f"{name} {key}", one) for key, one in command.commands.items())
        return {key: one for found in inner for key, one in found.items()}

    return walk("concept-ppl", typer.main.get_command(app))


def test_the_same_option_is_the_same_in_every_command() -> None:
    seen = defaultdict(lambda: defaultdict(set))
    for name, command in commands().items():
        for option in command.params:
            if not option.opts[0].startswith("-"):
                continue
            flag = option.opts[0]
            seen[flag]["type"].add(str(option.type))
            if flag not in OWN_HELP:
                seen[flag]["help"].add(option.help)
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
