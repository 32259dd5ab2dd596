"""Commands that answer a whole question and write a report."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .application import study_app
from .options import Device, Force, LanguageModelName, Output, Seed, require_device
from .progress import stage


@study_app.command()
def language(
    output: Output,
    world: Annotated[
        str, typer.Option(help="fixed: one language a context; switching: it changes.")
    ] = "switching",
    language_models: Annotated[
        list[str],
        typer.Option(
            "--model",
            help="smollm2, gemma3-270m, a hub id, a folder, a .gguf file; give two for both side "
            "by side.",
        ),
    ] = ["smollm2"],  # noqa: B006
    languages: Annotated[
        str, typer.Option(help="Two or more codes of wordfreq.")
    ] = "en,fr,de,es,it",
    n: Annotated[int, typer.Option("-n", min=50, help="Number of contexts.")] = 3000,
    top: Annotated[int, typer.Option(min=1, help="Words per language in the vocabulary.")] = 3000,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of each model to read.")] = 6,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether language models know the language they read, against exact posteriors."""
    from concept_ppl.analyses.studies.language import LanguageStudy, run_language_study

    study = LanguageStudy(
        world=world,
        language_models=tuple(language_models),
        languages=tuple(code.strip() for code in languages.split(",")),
        n_contexts=n,
        top=top,
        n_blocks=blocks,
        seed=seed,
        level=level,
        device=str(require_device(device)),
    )
    command = ["concept-ppl", *sys.argv[1:]]
    page = run_language_study(study, output, command=command, stage=stage, force=force)
    typer.echo(str(page))


@study_app.command()
def labelled(
    language_model: LanguageModelName,
    contexts: Annotated[Path, typer.Argument(help="CSV with a column text and columns of labels.")],
    output: Output,
    labels: Annotated[
        str, typer.Option(help="Columns of labels, with commas. Default: all but text.")
    ] = "",
    cluster: Annotated[
        str | None,
        typer.Option(help="Column of texts that belong together: a template, an author."),
    ] = None,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of the model to read.")] = 6,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether a language model knows your own labels, against exact posteriors from words."""
    from concept_ppl.analyses.studies.labelled import LabelledStudy, run_labelled_study

    study = LabelledStudy(
        language_model=language_model,
        labels=tuple(name.strip() for name in labels.split(",") if name.strip()),
        cluster=cluster,
        n_blocks=blocks,
        seed=seed,
        level=level,
        device=str(require_device(device)),
    )
    command = ["concept-ppl", *sys.argv[1:]]
    page = run_labelled_study(study, contexts, output, command=command, stage=stage, force=force)
    typer.echo(str(page))


@study_app.command()
def words(
    output: Output,
    languages: Annotated[
        str, typer.Option(help="Two or more codes of wordfreq.")
    ] = "en,fr,de,es,it",
    n: Annotated[int, typer.Option("-n", min=50, help="Number of contexts to fit.")] = 600,
    top: Annotated[int, typer.Option(min=1, help="Words per language in the vocabulary.")] = 40,
    draws: Annotated[int, typer.Option(min=1, help="Of each of two chains.")] = 120,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether a mixture fitted to unlabelled words finds the languages they come from."""
    from concept_ppl.analyses.studies.words import WordsStudy, run_words_study

    require_device(device)
    study = WordsStudy(
        languages=tuple(code.strip() for code in languages.split(",")),
        n_contexts=n,
        top=top,
        warmup=max(draws // 2, 1),
        draws=draws,
        seed=seed,
        level=level,
    )
    command = ["concept-ppl", *sys.argv[1:]]
    page = run_words_study(study, output, command=command, stage=stage, force=force)
    typer.echo(str(page))
