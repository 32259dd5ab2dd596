"""Commands that answer a whole question and write a report."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .application import study_app
from .options import (
    BLOCKS,
    LANGUAGE_MODELS,
    LANGUAGES,
    LEVEL,
    PLANTED,
    Blocks,
    Contexts,
    Controls,
    Device,
    Force,
    LanguageModelName,
    Languages,
    Layers,
    Level,
    ModelName,
    Output,
    Parameters,
    Planted,
    Ray,
    Seed,
    Top,
    Workers,
    named_path,
    on_machines,
    require_device,
    split,
    this_command,
)
from .progress import stage


@study_app.command()
def world(
    model: ModelName,
    language_models: Annotated[
        list[str], typer.Argument(help=f"One or more language models ({LANGUAGE_MODELS}).")
    ],
    output: Output,
    parameter: Parameters = [],  # noqa: B006
    n: Contexts = 2000,
    read: Annotated[
        str, typer.Option(help="Where states are read: last, all, or every token of this text.")
    ] = "last",
    first: Annotated[
        int, typer.Option(min=1, help="First position that is read, but for --read last.")
    ] = 1,
    layers: Layers = None,
    blocks: Blocks = BLOCKS,
    control: Controls = [],  # noqa: B006
    planted: Planted = PLANTED,
    workers: Workers = None,
    ray: Ray = None,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether language models know the concepts of a world, zoo or file, that has text."""
    from concept_ppl.analyses.studies.world import WorldStudy, run_world_study
    from concept_ppl.programs.sources import parse_parameter

    study = WorldStudy(
        world=model,
        parameters=dict(parse_parameter(text) for text in parameter),
        language_models=tuple(language_models),
        n_contexts=n,
        read=read,
        first=first,
        sites=layers or "",
        n_blocks=blocks,
        controls=dict(named_path(text) for text in control),
        n_planted=planted,
        seed=seed,
        level=level,
        device=str(require_device(device)),
    )
    page = run_world_study(
        study,
        output,
        command=this_command(),
        stage=stage,
        machines=on_machines(ray, workers, gpus=float(device != "cpu")),
        force=force,
    )
    typer.echo(str(page))


@study_app.command()
def language(
    output: Output,
    world: Annotated[
        Literal["ambiguous", "switching", "fixed"],
        typer.Option(help="ambiguous: words that languages share; switching: any; fixed: one."),
    ] = "ambiguous",
    language_models: Annotated[
        list[str],
        typer.Option(
            "--model",
            help=f"{LANGUAGE_MODELS}; give two for both side by side.",
        ),
    ] = ["smollm2"],  # noqa: B006
    languages: Languages = LANGUAGES,
    n: Contexts = 3000,
    top: Top = None,
    blocks: Blocks = BLOCKS,
    planted: Planted = PLANTED,
    workers: Workers = None,
    ray: Ray = None,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether language models know the language they read, against exact posteriors."""
    from concept_ppl.analyses.studies.language import LanguageStudy, run_language_study

    study = LanguageStudy(
        world=world,
        language_models=tuple(language_models),
        languages=split(languages),
        n_contexts=n,
        top=top,
        n_blocks=blocks,
        n_planted=planted,
        seed=seed,
        level=level,
        device=str(require_device(device)),
    )
    page = run_language_study(
        study,
        output,
        command=this_command(),
        stage=stage,
        machines=on_machines(ray, workers, gpus=float(device != "cpu")),
        force=force,
    )
    typer.echo(str(page))


@study_app.command()
def labelled(
    language_model: LanguageModelName,
    contexts: Annotated[
        Path,
        typer.Argument(
            help="CSV with a column text and columns of labels, or topics_and_tones, an example."
        ),
    ],
    output: Output,
    labels: Annotated[
        str, typer.Option(help="Columns of labels, with commas. Default: all but text.")
    ] = "",
    cluster: Annotated[
        str | None,
        typer.Option(help="Column of texts that belong together: a template, an author."),
    ] = None,
    blocks: Blocks = BLOCKS,
    workers: Workers = None,
    ray: Ray = None,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether a language model knows your own labels, against exact posteriors from words."""
    from concept_ppl.analyses.studies.labelled import LabelledStudy, run_labelled_study
    from concept_ppl.shipped_data import data_path

    study = LabelledStudy(
        language_model=language_model,
        labels=split(labels),
        cluster=cluster,
        n_blocks=blocks,
        seed=seed,
        level=level,
        device=str(require_device(device)),
    )
    page = run_labelled_study(
        study,
        data_path(contexts),
        output,
        command=this_command(),
        stage=stage,
        machines=on_machines(ray, workers, gpus=float(device != "cpu")),
        force=force,
    )
    typer.echo(str(page))


@study_app.command()
def words(
    output: Output,
    languages: Languages = LANGUAGES,
    n: Contexts = 600,
    top: Top = None,
    draws: Annotated[int, typer.Option(min=1, help="Of each of two chains.")] = 120,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether a mixture fitted to unlabelled words finds the languages they come from."""
    from concept_ppl.analyses.studies.words import WordsStudy, run_words_study

    require_device(device)
    study = WordsStudy(
        languages=split(languages),
        n_contexts=n,
        top=40 if top is None else top,
        warmup=max(draws // 2, 1),
        draws=draws,
        seed=seed,
        level=level,
    )
    page = run_words_study(study, output, command=this_command(), stage=stage, force=force)
    typer.echo(str(page))
