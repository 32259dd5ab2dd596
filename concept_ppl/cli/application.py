"""The command itself: its name, its options, and how bad input ends."""

import re
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from concept_ppl import __version__
from concept_ppl.errors import ConceptPPLError

from .interruptions import INTERRUPTED, ending_in_time

BAD_INPUT = 2
LONGEST = 1000
"""Characters of a sentence about a command."""
_TORCH_LACKS_MEMORY = re.compile(r"DefaultCPUAllocator|out of memory")


HERE = "here"
"""The value of ``--ray`` where no address follows it."""
_ADDRESS = re.compile(r"auto|here|local|(ray://)?[\w.\-\[\]:]+:\d+")


class WholeLines(TyperGroup):
    """A group that lists its commands with their whole first sentence, not the start of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; ``--ray`` takes what follows it only if that is an address."""
        return super().parse_args(ctx, _with_ray_address(args))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list; lines are broken, not cut."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        lines = [
            (name, command.get_short_help_str(limit=LONGEST))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(lines)


def _with_ray_address(words: list[str]) -> list[str]:
    """Put :data:`HERE` behind each ``--ray`` that no address follows."""
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        is_bare = word == "--ray" and not _ADDRESS.fullmatch(following)
        found += [word, HERE] if is_bare else [word]
    return found


app = typer.Typer(
    name="concept-ppl",
    cls=WholeLines,
    help="Is what a next-token predictor has learned an invertible affine function of the "
    "log-posterior of the concepts behind its data?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
study_app = typer.Typer(
    cls=WholeLines,
    help="Answer a whole question and write a report.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(study_app, name="study")


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit status 2."""
    with ending_in_time() as interruption:
        try:
            app(prog_name="concept-ppl")
        except ConceptPPLError as error:
            _refuse(str(error))
        except (MemoryError, RuntimeError) as error:
            if not _is_lack_of_memory(error):
                raise
            _refuse(f"there is not enough memory for this ({_asked_for(error)}); ask for less.")
        except (KeyboardInterrupt, SystemExit) as end:
            if isinstance(end, KeyboardInterrupt) or end.code == INTERRUPTED:
                interruption.tell()
                sys.exit(INTERRUPTED)
            raise


def _is_lack_of_memory(error: BaseException) -> bool:
    """Whether numpy, Python, or torch on any device could not allocate."""
    return isinstance(error, MemoryError) or _TORCH_LACKS_MEMORY.search(str(error)) is not None


def _asked_for(error: BaseException) -> str:
    sizes = re.findall(r"allocate (\d[\d.,]* ?\w+)", str(error))
    return f"{sizes[0]} more" if sizes else "Python's own objects"


def _refuse(sentence: str) -> NoReturn:
    typer.echo(f"error: {' '.join(sentence.splitlines())}", err=True)
    sys.exit(BAD_INPUT)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"concept-ppl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version_asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Read the options of the command itself."""
