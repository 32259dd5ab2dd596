"""The command on word pairs: are a concept's pairs parallel in a language model, beyond chance?"""

from typing import Annotated

import typer

from concept_ppl.errors import InputError

from .application import app
from .options import (
    BLOCKS,
    LANGUAGE_MODELS,
    LEVEL,
    Blocks,
    Device,
    Force,
    Level,
    Output,
    Seed,
    require_device,
    this_command,
)
from .progress import stage


@app.command()
def counterfactual(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="LLM [LLM2] PAIRS",
            help=f"One or two language models ({LANGUAGE_MODELS}), "
            "then own (the lists that are shipped), a folder of tab-separated lists named "
            "'[first - second].txt', or a CSV with columns concept, first, second.",
        ),
    ],
    output: Output,
    blocks: Blocks = BLOCKS,
    splits: Annotated[int, typer.Option(min=3, help="Splits of the words into halves.")] = 10,
    flips: Annotated[int, typer.Option(min=999, help="Sign flips behind each p-value.")] = 9_999,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Hold weights of word pairs against pairs of new words, beside controls; write a report."""
    from concept_ppl.analyses.studies.word_pairs import (
        CounterfactualStudy,
        run_counterfactual_study,
    )
    from concept_ppl.shipped_data import data_path

    *models, pairs = inputs
    if not 1 <= len(models) <= 2:
        raise InputError(
            f"counterfactual takes one or two language models and then the pairs, not "
            f"{len(inputs)} arguments."
        )
    study = CounterfactualStudy(
        language_models=tuple(models),
        pairs=str(data_path(pairs)),
        n_blocks=blocks,
        n_splits=splits,
        n_flips=flips,
        seed=seed,
        level=level,
        device=str(require_device(device)),
    )
    page = run_counterfactual_study(study, output, command=this_command(), stage=stage, force=force)
    typer.echo(str(page))
