"""Commands on language models: read their states, hold them to a posterior."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from concept_ppl.errors import InputError

from .application import app
from .options import Device, Force, Output, Seed, naming, require_device
from .progress import stage


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
    with stage("read states") as progress, naming(contexts):
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

    require_device(device)
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
