"""The ``concept-ppl`` command, the only module that knows all others."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from concept_ppl import __version__
from concept_ppl.errors import ConceptPPLError, InputError

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

Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything that is drawn at random.")
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, …")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that is already there.")]
Parameters = Annotated[
    list[str],
    typer.Option("-p", "--parameter", help="key=value for the model: build's, or a site's value."),
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.")]
ModelName = Annotated[str, typer.Argument(help="A zoo model, file.py, or file.py:function.")]


def main() -> None:
    """Run the command line; bad input ends with one sentence and exit status 2."""
    try:
        app()
    except ConceptPPLError as error:
        typer.echo(f"error: {' '.join(str(error).splitlines())}", err=True)
        sys.exit(BAD_INPUT)


@contextmanager
def stage(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar for one stage of the work, on a terminal only."""
    # Bound now: loading a GGUF file redirects stderr, which must not silence this display.
    console = Console(file=sys.stderr)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
        finished = progress.tasks[task].total or 1
        progress.update(task, completed=finished, total=finished)


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


@app.command()
def models() -> None:
    """List the zoo, a line each."""
    from concept_ppl.generative import zoo

    lines = zoo()
    width = max(map(len, lines))
    for name, line in lines.items():
        typer.echo(f"{name:{width}}  {line}")


@app.command()
def simulate(
    model: ModelName,
    output: Output,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of contexts.")] = 10_000,
    lengths: Annotated[
        str, typer.Option(help="Tokens per context: 8, or 1-5. Default: the model's own.")
    ] = "",
    parameter: Parameters = [],  # noqa: B006
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Draw contexts, next tokens and their concepts from a model into a Parquet file."""
    from concept_ppl.outputs import new_file
    from concept_ppl.simulation import simulate as draw

    program = _load(model, parameter)
    _require_device(device)
    with new_file(output, force=force) as path, stage("simulate"):
        draw(program, n, lengths=_lengths(lengths), seed=seed).to_parquet(path)


@app.command()
def posterior(
    model: ModelName,
    tokens: Annotated[Path, typer.Argument(help="Parquet with a column x (list of int).")],
    output: Output,
    joint: Annotated[bool, typer.Option("--joint", help="Also write the joint log_joint.")] = False,
    memory: Annotated[float, typer.Option(help="Budget of working memory in bytes.")] = 2e9,
    parameter: Parameters = [],  # noqa: B006
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Compute the exact log-posterior of every concept for each context of a file."""
    from concept_ppl.contexts import read_tokens
    from concept_ppl.outputs import new_file
    from concept_ppl.posteriors import posterior as answer

    program = _load(model, parameter)
    del seed  # nothing here is drawn at random
    _require_device(device)
    _, contexts = read_tokens(tokens)
    with new_file(output, force=force) as path:
        with stage("posterior") as progress, _naming(tokens):
            result = answer(
                program,
                contexts,
                joint=joint,
                memory=memory,
                device=device,
                progress=progress,
            )
        result.to_frame().to_parquet(path, index=False)


@app.command()
def extract(
    language_model: Annotated[
        str, typer.Argument(help="smollm2, a hub id, a local folder, or a .gguf file.")
    ],
    contexts: Annotated[Path, typer.Argument(help="Parquet with a column text.")],
    output: Output,
    layers: Annotated[
        str, typer.Option(help="all, or sites: embedding,resid.12,final_norm,embedding.sum.")
    ] = "all",
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Same architecture, weights by the seed.")
    ] = False,
    no_bos: Annotated[bool, typer.Option("--no-bos", help="Put no BOS before a context.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Read a language model's states at each context's last token into a folder."""
    from concept_ppl.bridge import extract as read
    from concept_ppl.bridge import load_language_model, resolve_sites
    from concept_ppl.bridge.states import MANIFEST, TENSORS
    from concept_ppl.outputs import require_writable

    texts = _read_texts(contexts)
    require_writable(output, force=force, known_by=(TENSORS, MANIFEST))
    with stage("load the language model"):
        loaded = load_language_model(
            language_model,
            device=device,
            revision=revision,
            random_weights=seed if random_weights else None,
        )
    sites = resolve_sites(loaded, layers)
    with stage("read states") as progress, _naming(contexts):
        states = read(loaded, texts, sites=sites, bos=not no_bos, progress=progress)
    states.save(output, force=force)


@app.command()
def analyse(
    states: Annotated[Path, typer.Argument(help="A folder that extract wrote.")],
    posterior: Annotated[Path, typer.Argument(help="A file that posterior wrote.")],
    output: Output,
    site: Annotated[
        str | None, typer.Option(help="Site of the headline. Default: final_norm, or the last.")
    ] = None,
    control: Annotated[
        list[str], typer.Option(help="name=folder: states that the model must beat; repeatable.")
    ] = [],  # noqa: B006
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Test states against a posterior, beside controls, and write a report folder."""
    from concept_ppl.analyses.studies.stored_states import analyse_stored

    _require_device(device)
    page = analyse_stored(
        states,
        posterior,
        output,
        site=site,
        others=dict(_named_folder(text) for text in control),
        command=["concept-ppl", *sys.argv[1:]],
        stage=stage,
        seed=seed,
        level=level,
        force=force,
    )
    typer.echo(str(page))


@study_app.command()
def language(
    output: Output,
    world: Annotated[
        str, typer.Option(help="fixed: one language a context; switching: it changes.")
    ] = "switching",
    language_model: Annotated[
        str, typer.Option("--model", help="smollm2, a hub id, a local folder, or a .gguf file.")
    ] = "smollm2",
    languages: Annotated[
        str, typer.Option(help="Two or more codes of wordfreq.")
    ] = "en,fr,de,es,it",
    n: Annotated[int, typer.Option("-n", min=50, help="Number of contexts.")] = 3000,
    top: Annotated[int, typer.Option(min=1, help="Words per language in the vocabulary.")] = 3000,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of the model to read.")] = 6,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether a language model knows the language it reads, against exact posteriors."""
    from concept_ppl.analyses.studies.language import LanguageStudy, run_language_study

    study = LanguageStudy(
        world=world,
        language_model=language_model,
        languages=tuple(code.strip() for code in languages.split(",")),
        n_contexts=n,
        top=top,
        n_blocks=blocks,
        seed=seed,
        level=level,
        device=str(_require_device(device)),
    )
    command = ["concept-ppl", *sys.argv[1:]]
    page = run_language_study(study, output, command=command, stage=stage, force=force)
    typer.echo(str(page))


def _load(model: str, parameters: list[str]) -> Callable[[int], object]:
    from concept_ppl.generative import load_model, parse_parameter

    with stage("load the model"):
        return load_model(model, **dict(parse_parameter(text) for text in parameters))


def _lengths(text: str) -> int | tuple[int, int] | None:
    if not text:
        return None
    try:
        shortest, _, longest = text.partition("-")
        return (int(shortest), int(longest)) if longest else int(shortest)
    except ValueError:
        raise InputError(
            f"lengths '{text}' are neither a number nor a range such as 1-5."
        ) from None


def _require_device(device: str) -> str:
    """Refuse a device that is not here, before any work."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{device}' is not available here; use cpu.") from error
    return device


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before a sentence about one of its rows."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _named_folder(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise InputError(f"control '{text}' is not of the form name=folder.")
    return name, Path(folder)


def _read_texts(path: Path) -> list[str]:
    from concept_ppl.contexts import read_parquet

    table = read_parquet(path)
    if "text" not in table.column_names:
        names = ", ".join(table.column_names)
        raise InputError(f"{path} has no column text; it has: {names}.")
    texts: list[str] = table.column("text").to_pylist()
    return texts
