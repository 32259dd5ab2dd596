"""Commands on generative models: list, simulate, answer exactly."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from concept_ppl.errors import InputError

from .application import app
from .options import (
    MEMORY,
    Device,
    Force,
    Memory,
    ModelName,
    Parameters,
    Seed,
    TableOutput,
    TablesOutput,
    TokensFiles,
    load_program,
    naming,
    require_device,
)
from .progress import stage

if TYPE_CHECKING:
    from pyarrow import Table

    from concept_ppl.contexts.tokens import Contexts
    from concept_ppl.inference.results import Posterior
    from concept_ppl.programs.graph_assembly import Model


@app.command()
def models() -> None:
    """List the zoo, a line each."""
    from concept_ppl.zoo import zoo

    _list(zoo())


@app.command()
def data() -> None:
    """List the data that are shipped, a line each: names that commands take, and their files."""
    from concept_ppl.shipped_data import SHIPPED

    _list({name: shipped.what for name, shipped in SHIPPED.items()})
    typer.echo()
    _list({name: str(shipped.path) for name, shipped in SHIPPED.items()})


def _list(lines: Mapping[str, str]) -> None:
    width = max(map(len, lines))
    for name, line in lines.items():
        typer.echo(f"{name:{width}}  {line}")


@app.command()
def simulate(
    model: ModelName,
    output: TableOutput,
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
    from concept_ppl.contexts.row_groups import write_row_groups
    from concept_ppl.inference.simulation import simulate_blocks
    from concept_ppl.outputs import new_file

    program = load_program(model, parameter)
    require_device(device)
    with new_file(output, force=force) as path, stage("simulate") as progress:
        blocks = simulate_blocks(program, n, lengths=_lengths(lengths), seed=seed)
        write_row_groups(path, blocks, n, shown=output, progress=progress)


@app.command()
def posterior(
    model: ModelName,
    tokens: TokensFiles,
    output: TablesOutput,
    joint: Annotated[bool, typer.Option("--joint", help="Also write the joint log_joint.")] = False,
    draws: Annotated[
        int,
        typer.Option(min=0, help="Of a fit.nc: average over so many. 0: parameters at their mean."),
    ] = 0,
    impossible: Annotated[
        Literal["raise", "mark"],
        typer.Option(help="Contexts of probability zero: refuse them, or write them as -inf."),
    ] = "raise",
    memory: Memory = MEMORY,
    parameter: Parameters = [],  # noqa: B006
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Compute the exact log-posterior of every concept for each context of a file, or of many."""
    from concept_ppl.contexts.token_files import token_files
    from concept_ppl.outputs import new_file, new_folder

    del seed  # nothing here is drawn at random
    require_device(device)
    files = token_files(tokens)
    options = {"joint": joint, "memory": memory, "device": device, "impossible": impossible}
    if draws:
        answer = partial(_answer_whole, _averaging(model, parameter, draws), options)
    else:
        answer = partial(_answer_file, load_program(model, parameter), options)
    if files == [tokens]:
        with new_file(output, force=force) as path:
            answer(tokens, path, output)
        return
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise InputError(f"{tokens} names files of the same name; give them names of their own.")
    with new_folder(output, force=force, known_by=names) as folder:
        for file in files:
            answer(file, folder / file.name, output / file.name)


def _answer_file(
    program: "Model", options: dict[str, Any], tokens: Path, path: Path, shown: Path
) -> None:
    """Answer the contexts of a file a row group at a time."""
    from concept_ppl.contexts.row_groups import write_row_groups
    from concept_ppl.contexts.token_files import n_rows_of, token_blocks
    from concept_ppl.inference.streams import posterior_blocks

    def tables() -> Iterator["Table"]:
        with naming(tokens):
            for answer in posterior_blocks(program, token_blocks(tokens), **options):
                yield answer.to_arrow()

    with stage("posterior") as progress:
        write_row_groups(path, tables(), n_rows_of(tokens), shown=shown, progress=progress)


def _answer_whole(
    question: Callable[..., "Posterior"],
    options: dict[str, Any],
    tokens: Path,
    path: Path,
    shown: Path,
) -> None:
    """Answer the contexts of a file at once, as an average over draws needs them."""
    from concept_ppl.contexts.tokens import read_tokens

    del shown
    _, contexts = read_tokens(tokens)
    with stage("posterior") as progress, naming(tokens):
        result = question(contexts, progress=progress, **options)
    result.to_frame().to_parquet(path, index=False)


def _averaging(model: str, parameter: list[str], draws: int) -> Callable[..., "Posterior"]:
    """Return the posterior of contexts averaged over the draws of a fit, as a question to ask."""
    from concept_ppl.fitting.fits.fit_files import read_fit
    from concept_ppl.fitting.fits.fitted_models import program_of
    from concept_ppl.fitting.fits.predictions import averaged_posterior

    if not model.endswith(".nc") or parameter:
        raise InputError("--draws averages over the draws of a fit.nc, without -p; leave it out.")
    file = read_fit(model)
    program = program_of(file)

    def question(contexts: "Contexts", **options: Any) -> "Posterior":
        seen = file.has_seen(contexts)
        return averaged_posterior(program, file.fit, contexts, n_draws=draws, seen=seen, **options)

    return question


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
