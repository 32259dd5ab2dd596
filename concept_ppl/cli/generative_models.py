"""Commands on generative models: list, simulate, answer exactly."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    TablesOutput,
    TokensFiles,
    Workers,
    load_program,
    naming,
    on_machines,
    require_device,
)
from .progress import stage

if TYPE_CHECKING:
    from pyarrow import Table

    from concept_ppl.distributed import Machines
    from concept_ppl.inference.results import Posterior
    from concept_ppl.programs.graph_assembly import Model

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
    workers: Workers = None,
    ray: Ray = None,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Compute the exact log-posterior of every concept for each context of a file, or of many."""
    from concept_ppl.contexts.token_files import token_files

    from .posterior_parts import Question

    del seed  # nothing here is drawn at random
    if ray is None:
        require_device(device)
    machines = on_machines(ray, workers, gpus=float(device != "cpu"))
    question = Question(model, tuple(parameter), draws, joint, impossible, memory, device)
    files = token_files(tokens)
    if not machines.is_one_process:
        _on_machines(question, files, output, machines, force, is_one=files == [tokens])
        return
    options = {"joint": joint, "memory": memory, "device": device, "impossible": impossible}
    if draws:
        with stage("load the model"):
            answer = partial(_answer_whole, question.asked())
    else:
        answer = partial(_answer_file, load_program(model, parameter), options)
    _write_each(files, output, answer, force, is_one=files == [tokens])


def _write_each(
    files: Sequence[Path],
    output: Path,
    answer: Callable[[Path, Path, Path], None],
    force: bool,
    *,
    is_one: bool,
) -> None:
    """Call ``answer(tokens, path, shown)`` for one file, or for each into a folder of as many."""
    from concept_ppl.outputs import new_file, new_folder

    if is_one:
        with new_file(output, force=force) as path:
            answer(files[0], path, output)
        return
    names = _names(files)
    with new_folder(output, force=force, known_by=names) as folder:
        for file in files:
            answer(file, folder / file.name, output / file.name)


def _names(files: Sequence[Path]) -> list[str]:
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two of the files are named {twice}; give them names of their own.")
    return names


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


def _answer_whole(asked: Callable[..., "Posterior"], tokens: Path, path: Path, shown: Path) -> None:
    """Answer the contexts of a file at once, as an average over draws needs them."""
    from concept_ppl.contexts.tokens import read_tokens

    del shown
    _, contexts = read_tokens(tokens)
    with stage("posterior") as progress, naming(tokens):
        result = asked(contexts, progress=progress)
    result.to_frame().to_parquet(path, index=False)


def _on_machines(
    question: "Question",
    files: Sequence[Path],
    output: Path,
    machines: "Machines",
    force: bool,
    *,
    is_one: bool,
) -> None:
    """Answer files row group by row group, and keep each answer until all are there."""
    from concept_ppl.distributed import Store, hired
    from concept_ppl.outputs import partial_of, require_free_file, require_writable

    from .posterior_parts import answer_in_parts, put_together, row_groups

    kept = partial_of(output)
    goes_on_from(kept)
    if is_one:
        require_free_file(output, force=force)
    else:
        require_writable(output, force=force, known_by=_names(files))
    file, colon, name = question.model.partition(":")
    if Path(file).suffix in {".py", ".nc"}:  # another process has another current folder
        question = replace(question, model=f"{Path(file).resolve()}{colon}{name}")
    groups = [row_groups(tokens) for tokens in files]
    every = [group for own in groups for group in own]
    try:
        with hired(machines) as crew, stage("posterior") as progress:
            names = iter(answer_in_parts(question, every, Store(kept), crew, progress=progress))
    finally:
        with suppress(OSError):  # nothing of it may be left where nothing was answered
            kept.rmdir()
    own = {tokens: list(islice(names, len(g))) for tokens, g in zip(files, groups, strict=True)}
    _write_each(
        files,
        output,
        lambda tokens, path, _: put_together(own[tokens], Store(kept), path),
        force,
        is_one=is_one,
    )
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
