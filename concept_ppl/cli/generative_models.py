"""Commands on generative models: list, simulate, answer exactly."""

from pathlib import Path
from typing import Annotated

import typer

from concept_ppl.errors import InputError

from .application import app
from .options import (
    Device,
    Force,
    ModelName,
    Output,
    Parameters,
    Seed,
    load_program,
    naming,
    require_device,
)
from .progress import stage


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

    program = load_program(model, parameter)
    require_device(device)
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

    program = load_program(model, parameter)
    del seed  # nothing here is drawn at random
    require_device(device)
    _, contexts = read_tokens(tokens)
    with new_file(output, force=force) as path:
        with stage("posterior") as progress, naming(tokens):
            result = answer(
                program,
                contexts,
                joint=joint,
                memory=memory,
                device=device,
                progress=progress,
            )
        result.to_frame().to_parquet(path, index=False)


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
