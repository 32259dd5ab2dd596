"""Options that commands share, and what is refused before any work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from concept_ppl.errors import InputError

from .progress import stage

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
LanguageModelName = Annotated[
    str,
    typer.Argument(help="smollm2, gemma3-270m, a hub id, a local folder, or a .gguf file."),
]
ModelName = Annotated[str, typer.Argument(help="A zoo model, file.py, or file.py:function.")]


def require_device(device: str) -> str:
    """Refuse a device that is not here, before any work."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{device}' is not available here; use cpu.") from error
    return device


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before a sentence about one of its rows."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def load_program(model: str, parameters: list[str]) -> Callable[[int], object]:
    """Find a generative model and build it with these key=value parameters."""
    from concept_ppl.model_sources import load_model
    from concept_ppl.programs.sources import parse_parameter

    with stage("load the model"):
        return load_model(model, **dict(parse_parameter(text) for text in parameters))
