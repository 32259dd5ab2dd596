"""Commands on language models: read their states, hold them to a posterior."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from concept_ppl.errors import InputError, listed

from .application import app
from .interruptions import goes_on_from
from .options import (
    LEVEL,
    Controls,
    Device,
    Force,
    LanguageModelName,
    Layers,
    Level,
    Output,
    Ray,
    Seed,
    Workers,
    named_path,
    naming,
    on_machines,
    require_device,
    this_command,
)
from .progress import stage


@app.command()
def extract(
    language_model: LanguageModelName,
    contexts: Annotated[Path, typer.Argument(help="Parquet with a column text.")],
    output: Output,
    layers: Layers = None,
    positions: Annotated[
        Literal["last", "all", "mean", "word"],
        typer.Option(help="last token, all tokens (a row each), their mean, or a word's last."),
    ] = "last",
    word_column: Annotated[
        str | None, typer.Option(help="With --positions word: the column that holds the words.")
    ] = None,
    store: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="What is written.")
    ] = "float32",
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens in a batch, padding included.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Same architecture, weights by the seed.")
    ] = False,
    no_bos: Annotated[bool, typer.Option("--no-bos", help="Put no BOS before a context.")] = False,
    no_leading_space: Annotated[
        bool, typer.Option("--no-leading-space", help="Put no space before the first word.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "auto"],
        typer.Option(help="Type of the weights; auto: the one they are stored in."),
    ] = "float32",
    device_map: Annotated[
        str | None, typer.Option(help="auto, balanced, …: spread the blocks over the devices.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that the model brings.")
    ] = False,
    workers: Workers = None,
    ray: Ray = None,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Read a language model's states into a folder; a killed run goes on where it stopped."""
    from concept_ppl.bridge import extract as read
    from concept_ppl.bridge import load_language_model, readers_on, resolve_sites
    from concept_ppl.bridge.anatomy.sites import POOLED_SITES
    from concept_ppl.bridge.extraction.positions import EACH
    from concept_ppl.bridge.storage.states import KNOWN_BY
    from concept_ppl.distributed import hired_beside
    from concept_ppl.outputs import partial_of, require_writable

    goes_on_from(partial_of(output))
    texts = _read_column(contexts, "text")
    words = None if word_column is None else _read_column(contexts, word_column)
    require_writable(output, force=force, known_by=KNOWN_BY)
    machines = on_machines(ray, workers, gpus=float(device != "cpu"))
    if device_map is not None and not machines.is_one_process:
        raise InputError("--device-map spreads one model; leave out --workers and --ray.")
    options: dict[str, Any] = {
        "device_map": device_map,
        "dtype": dtype,
        "revision": revision,
        "random_weights": seed if random_weights else None,
        "trust_remote_code": trust_remote_code,
    }
    here = device if machines.ray is None else "cpu"
    with stage("load the language model"):  # also where others read: it has the tokenizer
        loaded = load_language_model(language_model, device=here, **options)
    sites = resolve_sites(loaded, "all" if layers is None else layers)
    if positions not in EACH:
        sites = tuple(dict.fromkeys((*sites, *POOLED_SITES)))
    elif layers is None:
        sites = tuple(site for site in sites if site not in POOLED_SITES)
    with (
        hired_beside(machines) as crew,
        stage("read states") as progress,
        naming(contexts),
    ):
        read(
            loaded,
            texts,
            sites=sites,
            positions=positions,
            words=words,
            folder=output,
            dtype=store,
            force=force,
            batch_tokens=batch_tokens,
            bos=not no_bos,
            leading_space=not no_leading_space,
            readers=readers_on(crew, language_model, device=device, **options),
            progress=progress,
            announce=typer.echo,
        )


@app.command()
def analyse(
    states: Annotated[Path, typer.Argument(help="A folder that extract wrote.")],
    posterior: Annotated[Path, typer.Argument(help="A file that posterior wrote.")],
    output: Output,
    site: Annotated[
        str | None, typer.Option(help="Site of the headline. Default: final_norm, or the last.")
    ] = None,
    control: Controls = [],  # noqa: B006
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Test states against a posterior, beside controls, and write a report folder."""
    from concept_ppl.analyses.studies.own_states import analyse_stored

    require_device(device)
    page = analyse_stored(
        states,
        posterior,
        output,
        site=site,
        others=dict(named_path(text) for text in control),
        command=this_command(),
        stage=stage,
        seed=seed,
        level=level,
        force=force,
    )
    typer.echo(str(page))


def _read_column(path: Path, name: str) -> list[str]:
    from concept_ppl.contexts.tokens import read_parquet

    table = read_parquet(path)
    if name not in table.column_names:
        names = listed(table.column_names)
        raise InputError(f"{path} has no column {name}; it has: {names}.")
    texts: list[str] = table.column(name).to_pylist()
    return texts
