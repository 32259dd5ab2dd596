"""The command that goes on with a language model's training and asks everything again."""

from typing import Annotated

import typer

from .application import study_app
from .options import (
    LANGUAGE_MODELS,
    LEVEL,
    WORKERS,
    Cells,
    Contexts,
    Device,
    Force,
    Full,
    Level,
    Output,
    Parameters,
    Ray,
    Seed,
    Seeds,
    Steps,
    Workers,
    on_machines,
    require_device,
    this_command,
)
from .progress import stage


@study_app.command()
def adaptation(
    output: Output,
    model: Annotated[
        str | None,
        typer.Argument(
            help="The world: a zoo model, file.py, or file.py:function. Default: codebook, with "
            "--quick one of three names and noise .2."
        ),
    ] = None,
    language_model: Annotated[
        str | None,
        typer.Argument(
            metavar="[LLM]",
            help=f"{LANGUAGE_MODELS}. Default: a small Llama from random weights.",
        ),
    ] = None,
    full: Full = False,
    steps: Steps = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Texts a step. Default: 64, an LLM 24.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its peak. Default: 2e-3, an LLM 3e-4.")
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1, help="The last so many blocks learn. Default: every weight, of an LLM 12."
        ),
    ] = None,
    lora: Annotated[
        int, typer.Option(min=0, help="Rank of LoRA maps that learn in place of weights; 0: none.")
    ] = 0,
    looks: Annotated[
        int, typer.Option(min=2, help="How often all is asked, before and after included.")
    ] = 8,
    n: Contexts = 2000,
    seeds: Seeds = None,
    parameters: Parameters = [],  # noqa: B006
    cells: Cells = None,
    workers: Workers = None,
    ray: Ray = None,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Train a language model on a world's own texts, and ask before, along the way and after."""
    from concept_ppl.analyses.studies.adaptation import (
        AdaptationStudy,
        WordLevel,
        recipe_for,
        run_adaptation,
        world_for,
    )
    from concept_ppl.programs.sources import parse_parameter

    world, knobs = world_for(model, dict(map(parse_parameter, parameters)), full=full)
    study = AdaptationStudy(
        world=world,
        parameters=knobs,
        language_model=language_model,
        word_level=WordLevel(width=128) if full else WordLevel(),
        recipe=recipe_for(
            language_model,
            full=full,
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            blocks=blocks,
            lora=lora,
        ),
        n_contexts=n,
        n_looks=looks,
        seeds=seeds or (3 if full else 1),
        seed=seed,
        level=level,
        device=require_device(device),
    )
    page = run_adaptation(
        study,
        output,
        command=this_command(),
        stage=stage,
        cells=cells,
        machines=on_machines(ray, workers, gpus=float(device != "cpu"), by_default=WORKERS),
        force=force,
    )
    typer.echo(str(page))
