"""Studies of simulated worlds, whose posteriors are known: theory, regimes, families."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .application import study_app
from .options import Force, Output, Seed
from .progress import stage

Full = Annotated[
    bool,
    typer.Option("--full/--quick", help="A night's work, or minutes on two cores (the default)."),
]
ShardOption = Annotated[
    str,
    typer.Option(help="2/5: answer the second fifth of the cells, and write no report."),
]
Cells = Annotated[
    Path | None,
    typer.Option(help="Folder of finished cells. Default: beside the output, <output>.cells."),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes, one thread each.")]
Worlds = Annotated[
    int | None, typer.Option(min=1, help="Random worlds. Default: 5, with --full 12.")
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="Networks a world. Default: the study's own.")
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Steps of training at most. Default: 500, --full 3000.")
]
Level = Annotated[float, typer.Option(help="Level of the intervals.")]


@study_app.command()
def theory(
    output: Output,
    full: Full = False,
    shard: ShardOption = "1/1",
    cells: Cells = None,
    workers: Workers = 2,
    worlds: Worlds = None,
    seeds: Seeds = None,
    steps: Steps = None,
    level: Level = 0.95,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Ask, in the world of the paper, what recovery depends on and what accuracy hides."""
    _run("theory", output, full, shard, cells, workers, worlds, seeds, steps, level, seed, force)


@study_app.command()
def regimes(
    output: Output,
    full: Full = False,
    shard: ShardOption = "1/1",
    cells: Cells = None,
    workers: Workers = 2,
    worlds: Worlds = None,
    seeds: Seeds = None,
    steps: Steps = None,
    level: Level = 0.95,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Map where the claim holds: what y tells of c, what x tells of c, how wide f is."""
    _run("regimes", output, full, shard, cells, workers, worlds, seeds, steps, level, seed, force)


@study_app.command()
def families(
    output: Output,
    full: Full = False,
    shard: ShardOption = "1/1",
    cells: Cells = None,
    workers: Workers = 2,
    seeds: Seeds = None,
    steps: Steps = None,
    level: Level = 0.95,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Train every architecture in one world, and compare what each has learned."""
    _run("families", output, full, shard, cells, workers, None, seeds, steps, level, seed, force)


def _run(
    name: str,
    output: Path,
    full: bool,
    shard: str,
    cells: Path | None,
    workers: int,
    worlds: int | None,
    seeds: int | None,
    steps: int | None,
    level: float,
    seed: int,
    force: bool,
) -> None:
    from concept_ppl.analyses.studies.families import FAMILIES
    from concept_ppl.analyses.studies.laboratory import Extent, Shard, run_laboratory
    from concept_ppl.analyses.studies.regimes import REGIMES
    from concept_ppl.analyses.studies.theory import THEORY

    page = run_laboratory(
        {"theory": THEORY, "regimes": REGIMES, "families": FAMILIES}[name],
        Extent(full=full, seed=seed, level=level, worlds=worlds, seeds=seeds, most_steps=steps),
        output,
        command=["concept-ppl", *sys.argv[1:]],
        stage=stage,
        shard=Shard.parse(shard),
        cells=cells,
        n_workers=workers,
        force=force,
    )
    typer.echo(f"shard {shard} is done" if page is None else str(page))
