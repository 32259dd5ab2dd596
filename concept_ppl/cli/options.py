"""Options that commands share, each declared once, and what is refused before any work."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concept_ppl.errors import InputError

from .application import HERE
from .progress import stage

if TYPE_CHECKING:
    from concept_ppl.distributed import Machines

Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything that is drawn at random.")
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, …")]
Level = Annotated[float, typer.Option(help="Level of the intervals.")]
LEVEL = 0.95
Memory = Annotated[float, typer.Option(help="Budget of working memory in bytes.")]
MEMORY = 2e9
Blocks = Annotated[int, typer.Option(min=1, help="Blocks of each language model to read.")]
BLOCKS = 6
Languages = Annotated[str, typer.Option(help="Two or more codes of wordfreq.")]
LANGUAGES = "en,fr,de,es,it"
Contexts = Annotated[int, typer.Option("-n", min=50, help="Number of contexts.")]
Top = Annotated[
    int | None,
    typer.Option(min=1, help="Words per language in the vocabulary; else as the world has it."),
]
Planted = Annotated[
    int, typer.Option(min=0, help="Planted states of each form that measure the world's power.")
]
PLANTED = 50
Layers = Annotated[
    str | None,
    typer.Option(help="Sites to read: all, or a list: embedding,resid.12,final_norm."),
]
Controls = Annotated[
    list[str],
    typer.Option(
        "--control",
        help="name=path: states that the model must beat, a folder of extract or a matrix "
        "(.npy, .npz, .safetensors, .parquet); repeatable.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that is already there.")]
Parameters = Annotated[
    list[str],
    typer.Option("-p", "--parameter", help="key=value for the model: build's, or a site's value."),
]
Full = Annotated[
    bool,
    typer.Option("--full/--quick", help="A night's work, or minutes on two cores (the default)."),
]
Cells = Annotated[
    str | None,
    typer.Option(
        help="Folder of finished cells, or a URL of fsspec (s3://bucket/cells). Default: beside "
        "the output, <output>.cells."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes, one thread each. Default: 2 for a study, else this one alone; with --ray "
        "as many as there is room for.",
    ),
]
WORKERS = 2
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="Work on a Ray cluster: that at an address (host:6379, or auto: that of this "
        "machine), without an address one that is started here for the command.",
    ),
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps of training at most. Default: the study's own.")
]
Seeds = Annotated[
    int | None,
    typer.Option(min=1, help="Networks, or trainings, of a kind. Default: the study's own."),
]


def _named_as(kind: str, *own: str) -> Callable[[Path | None], Path | None]:
    """Return a check that an output is not named as if it were of another kind."""

    def check(output: Path | None) -> Path | None:
        suffix = output.suffix.lower() if output is not None else ""
        if output is not None and suffix in SUFFIXES and suffix not in own:
            better = output.with_suffix(own[0] if own else "")
            raise InputError(f"{output}: what is written is {kind}; name it {better}.")
        return output

    return check


SUFFIXES = frozenset(
    (
        *(".parquet", ".pq", ".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".feather", ".arrow"),
        *(".npy", ".npz", ".nc", ".h5", ".hdf5", ".safetensors", ".pickle", ".pkl", ".pt"),
        *(".html", ".pdf", ".txt", ".md", ".zip"),
    )
)
"""Ends of names by which programs know what is in a file."""
Output = Annotated[
    Path,
    typer.Option("-o", "--output", help="Folder to write.", callback=_named_as("a folder")),
]
TableOutput = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="Parquet file to write.",
        callback=_named_as("Parquet", ".parquet", ".pq"),
    ),
]
TablesOutput = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="Parquet file to write; the folder, where many are read.",
        callback=_named_as("Parquet", ".parquet", ".pq"),
    ),
]
FitOutput = Annotated[
    Path,
    typer.Option(
        "-o", "--output", help="netCDF file to write.", callback=_named_as("netCDF", ".nc")
    ),
]
CsvOutput = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Also write the table, as CSV.",
        callback=_named_as("CSV", ".csv"),
    ),
]
LANGUAGE_MODELS = "smollm2, gemma3-270m, a hub id, a local folder, or a .gguf file"
LanguageModelName = Annotated[str, typer.Argument(help=f"{LANGUAGE_MODELS}.")]
TokensFile = Annotated[Path, typer.Argument(help="Parquet with a column x (list of int).")]
TokensFiles = Annotated[
    Path,
    typer.Argument(help="Parquet with a column x (list of int), a folder of such, or a pattern."),
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


def on_machines(
    ray: str | None, workers: int | None, *, gpus: float = 0.0, by_default: int | None = None
) -> "Machines":
    """Return where long work runs.

    Parameters
    ----------
    ray, workers
        The options.
    gpus
        Of each worker on Ray.
    by_default
        Workers where neither option was given.
    """
    from concept_ppl.distributed import Machines

    if ray is None:
        return Machines(workers or by_default)
    return Machines(
        workers,
        "" if ray in {HERE, "local"} else ray,
        gpus,
        announce=lambda sentence: typer.echo(sentence, err=True),
    )


def this_command() -> list[str]:
    """Return the command line as typed, by which a report can be made again."""
    return ["concept-ppl", *sys.argv[1:]]


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list with commas, without blanks around them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def named_path(text: str) -> tuple[str, Path]:
    """Split ``name=path`` of a control.

    Raises
    ------
    InputError
        If there is no name or no path.
    """
    name, found, path = text.partition("=")
    if not (name and found and path):
        raise InputError(f"control '{text}' is not of the form name=path.")
    return name, Path(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before a sentence about one of its rows, where it does not say it."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(str(path)):
            raise
        raise InputError(f"{path}: {error}") from error


def load_program(model: str, parameters: list[str]) -> Callable[[int], object]:
    """Find a generative model and build it with these key=value parameters."""
    from concept_ppl.model_sources import load_model
    from concept_ppl.programs.sources import parse_parameter

    with stage("load the model"):
        return load_model(model, **dict(parse_parameter(text) for text in parameters))
