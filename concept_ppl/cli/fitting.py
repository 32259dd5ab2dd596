"""Commands that learn a generative model from tokens, and compare and check what was learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from concept_ppl.errors import InputError

from .application import app
from .interruptions import goes_on_from
from .options import (
    LEVEL,
    MEMORY,
    CsvOutput,
    Device,
    FitOutput,
    Force,
    Level,
    Memory,
    ModelName,
    Output,
    Parameters,
    Seed,
    TokensFile,
    load_program,
    naming,
    require_device,
    this_command,
)
from .progress import fit_stage, stage

if TYPE_CHECKING:
    from concept_ppl.fitting.fits.fit_files import FitFile

Known = Annotated[
    list[str],
    typer.Option(
        "--known", help="A concept whose column in the tokens file holds its value; repeatable."
    ),
]


@app.command()
def fit(
    model: ModelName,
    tokens: TokensFile,
    output: FitOutput,
    method: Annotated[Literal["em", "map", "svi", "nuts"], typer.Option(help="How to learn.")] = (
        "em"
    ),
    restarts: Annotated[int, typer.Option(min=1, help="Starts of em and map.")] = 5,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="At most so many. Default: the method's own.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Contexts of a minibatch, for map and svi.")
    ] = None,
    guide: Annotated[str, typer.Option(help="One of Pyro's automatic guides, for svi.")] = (
        "AutoNormal"
    ),
    chains: Annotated[int, typer.Option(min=1, help="Of nuts.")] = 4,
    warmup: Annotated[int, typer.Option(min=0, help="Of nuts, a chain.")] = 500,
    draws: Annotated[int, typer.Option(min=1, help="Of nuts, a chain, and of svi.")] = 1000,
    known: Known = [],  # noqa: B006
    replicates: Annotated[
        int, typer.Option(min=0, help="Data sets of the posterior predictive to keep.")
    ] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File for the state; where it exists, go on from it.")
    ] = None,
    memory: Memory = MEMORY,
    parameter: Parameters = [],  # noqa: B006
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Learn a model's parameters from tokens: continuous sites and pyro.param statements."""
    from concept_ppl.contexts.tokens import read_tokens
    from concept_ppl.fitting.fits.fit_files import write_fit
    from concept_ppl.fitting.fits.observations import observations
    from concept_ppl.fitting.fits.replicates import replicate
    from concept_ppl.fitting.methods import fit as learn
    from concept_ppl.outputs import require_free_file
    from concept_ppl.zoo import model_file

    goes_on_from(checkpoint, "with --checkpoint FILE it would go on")
    require_free_file(output, force=force)
    require_device(device)
    program = load_program(model, parameter)
    table, contexts = read_tokens(tokens)
    with naming(tokens):
        observed = observations(program, table, contexts, known=known)
        with fit_stage() as progress:
            found = learn(
                program,
                contexts,
                method,
                weights=observed.weights,
                given=observed.given,
                next_tokens=observed.next_tokens,
                restarts=restarts,
                iterations=iterations,
                batch_size=batch_size,
                guide=guide,
                chains=chains,
                warmup=warmup,
                draws=draws,
                seed=seed,
                checkpoint=checkpoint,
                progress=progress,
                memory=memory,
                device=device,
            )
    drawn: dict[str, Any] = {}
    try:
        if replicates:
            with stage("draw replicates") as drawing:
                drawn = replicate(program, found, observed, replicates, seed, progress=drawing)
    finally:  # a fit is written even if nothing can be drawn from it
        file = model_file(model)
        write_fit(found, observed, output, replicates=drawn, program=file, force=force)
    typer.echo(found.summary())


@app.command()
def compare(
    fits: Annotated[list[Path], typer.Argument(help="Two or more files that fit wrote.")],
    by: Annotated[
        Literal["loo", "waic", "aic", "bic", "held-out"] | None,
        typer.Option(help="Criterion. Default: loo of posteriors, bic of points."),
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Tokens that no fit has seen, to compare by those.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws to average over held out.")] = 200,
    output: CsvOutput = None,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Rank fits of the same tokens by how well they foretell contexts that they have not seen."""
    from concept_ppl.analyses import rank_models
    from concept_ppl.analyses.studies.fits import accuracies_of, choose_criterion
    from concept_ppl.fitting.fits.fit_files import read_fit
    from concept_ppl.outputs import new_file

    del seed  # nothing here is drawn at random
    require_device(device)  # what is compared has been computed
    files = {str(path): read_fit(path) for path in dict.fromkeys(fits)}
    _require_same_data(files)
    criterion = choose_criterion(files, by or "", held_out)
    with stage("compare") as progress:
        accuracies = accuracies_of(
            files, criterion, held_out=held_out, n_draws=draws, level=level, progress=progress
        )
    ranking = rank_models(accuracies, level=level)
    if output is not None:
        with new_file(output, force=force) as path:
            ranking.tidy().to_csv(path, index=False)
    typer.echo(ranking.summary())


@app.command()
def check(
    fit_file: Annotated[Path, typer.Argument(metavar="FIT", help="A file that fit wrote.")],
    output: Output,
    replicates: Annotated[
        int, typer.Option(min=20, help="Data sets to draw, where the file holds fewer.")
    ] = 500,
    level: Level = LEVEL,
    seed: Seed = 0,
    device: Device = "cpu",
    force: Force = False,
) -> None:
    """Ask whether a fit can be trusted and reproduces its tokens, and write a report folder."""
    from concept_ppl.analyses.studies.fits import check_fit

    require_device(device)  # what is drawn again is drawn on the CPU
    page = check_fit(
        fit_file,
        output,
        n_replicates=replicates,
        level=level,
        seed=seed,
        command=this_command(),
        stage=stage,
        force=force,
    )
    typer.echo(str(page))


def _require_same_data(files: "dict[str, FitFile]") -> None:
    first = next(iter(files.values()))
    for name, file in files.items():
        if file.attributes["observed_digest"] != first.attributes["observed_digest"]:
            raise InputError(
                f"{first.path} and {name} were fitted to different observations (tokens, next "
                f"tokens, known values or weights), so no difference between them has a meaning; "
                f"fit both to the same file, with the same --known."
            )
