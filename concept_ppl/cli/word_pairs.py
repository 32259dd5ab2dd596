"""The command on word pairs: are a concept's pairs parallel in a language model, beyond chance?"""

import sys
from typing import Annotated

import typer

from concept_ppl.errors import InputError

from .application import app
from .options import Device, Force, Output, Seed, require_device
from .progress import stage


@app.command()
def counterfactual(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="LLM [LLM2] PAIRS",
            help="One or two language models (smollm2, a hub id, a local folder, a .gguf file), "
            "then a folder of tab-separated lists named '[first - second].txt', or a CSV with "
            "columns concept, first, second.",
        ),
    ],
    output: Output,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of each model to read.")] = 6,
    splits: Annotated[int, typer.Option(min=3, help="Splits of the words into halves.")] = 10,
    flips: Annotated[int, typer.Option(min=999, help="Sign flips behind each p-value.")] = 9_999,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Hold weights of word pairs against pairs of new words, beside controls; write a report."""
    from concept_ppl.analyses.studies.word_pairs import (
        CounterfactualStudy,
        run_counterfactual_study,
    )

    *models, pairs = inputs
    if not 1 <= len(models) <= 2:
        raise InputError(
            f"counterfactual takes one or two language models and then the pairs, not "
            f"{len(inputs)} arguments."
        )
    study = CounterfactualStudy(
        language_models=tuple(models),
        pairs=pairs,
        n_blocks=blocks,
        n_splits=splits,
        n_flips=flips,
        seed=seed,
        level=level,
        device=str(require_device(device)),
    )
    command = ["concept-ppl", *sys.argv[1:]]
    page = run_counterfactual_study(study, output, command=command, stage=stage, force=force)
    typer.echo(str(page))
