"""Commands on generative models: list, simulate, answer exactly."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from concept_ppl.errors import InputError

from .application import app
from .interruptions import goes_on_from
from .options import (
    MEMORY,
    Device,
    Force,
    Memory,
    ModelName,
    Parameters,
    Ray,
    Seed,
    TableOutput,
    TokensFile,
    Workers,
    load_program,
    naming,
    on_machines,
    require_device,
)
from .progress import stage

if TYPE_CHECKING:
    from concept_ppl.distributed import Machines

    from .posterior_parts import Question


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
    tokens: TokensFile,
    output: TableOutput,
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
    workers: Workers = None,
    ray: Ray = None,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Compute the exact log-posterior of every concept for each context of a file."""
    from concept_ppl.contexts.tokens import read_tokens
    from concept_ppl.outputs import new_file

    from .posterior_parts import Question

    del seed  # nothing here is drawn at random
    if ray is None:
        require_device(device)
    question = Question(model, tuple(parameter), draws, joint, impossible, memory, device)
    machines = on_machines(ray, workers, gpus=float(device != "cpu"))
    if not machines.is_one_process:
        _on_machines(question, tokens, output, machines, force)
        return
    _, contexts = read_tokens(tokens)
    with stage("load the model"):
        asked = question.asked()
    with new_file(output, force=force) as path:
        with stage("posterior") as progress, naming(tokens):
            result = asked(contexts, progress=progress)
        result.to_frame().to_parquet(path, index=False)


def _on_machines(
    question: "Question", tokens: Path, output: Path, machines: "Machines", force: bool
) -> None:
    """Answer a file row group by row group, and keep each answer until all are there."""
    from concept_ppl.distributed import Store, hired
    from concept_ppl.outputs import new_file, partial_of, require_free_file

    from .posterior_parts import answer_in_parts, put_together, row_groups

    kept = partial_of(output)
    goes_on_from(kept)
    require_free_file(output, force=force)
    file, colon, name = question.model.partition(":")
    if Path(file).suffix in {".py", ".nc"}:  # another process has another current folder
        question = replace(question, model=f"{Path(file).resolve()}{colon}{name}")
    groups = row_groups(tokens)
    try:
        with hired(machines) as crew, stage("posterior") as progress:
            names = answer_in_parts(question, groups, Store(kept), crew, progress=progress)
    finally:
        with suppress(OSError):  # nothing of it may be left where nothing was answered
            kept.rmdir()
    with new_file(output, force=force) as path:
        put_together(names, Store(kept), path)
    shutil.rmtree(kept)


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
