"""The command itself: its name, its options, and how bad input ends."""

import sys
from typing import Annotated

import typer

from concept_ppl import __version__
from concept_ppl.errors import ConceptPPLError

BAD_INPUT = 2

app = typer.Typer(
    name="concept-ppl",
    help="Is what a next-token predictor has learned an invertible affine function of the "
    "log-posterior of the concepts behind its data?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
study_app = typer.Typer(
    help="Answer a whole question and write a report.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(study_app, name="study")


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit status 2."""
    try:
        app()
    except ConceptPPLError as error:
        typer.echo(f"error: {' '.join(str(error).splitlines())}", err=True)
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
