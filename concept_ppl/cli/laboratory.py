"""Studies of simulated worlds, whose posteriors are known: theory, regimes, families."""

from pathlib import Path
from typing import Annotated

import typer

from concept_ppl.errors import InputError

from .application import study_app
from .interruptions import goes_on_from
from .options import LEVEL, Force, Level, Output, Seed, this_command
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


def _add(name: str, question: str) -> None:
    """Give the study of this name its command; all of them take the same options."""

    @study_app.command(name, help=question)
    def run(
        output: Output,
        full: Full = False,
        shard: ShardOption = "1/1",
        cells: Cells = None,
        workers: Workers = 2,
        worlds: Worlds = None,
        seeds: Seeds = None,
        steps: Steps = None,
        level: Level = LEVEL,
        seed: Seed = 0,
        force: Force = False,
    ) -> None:
        from concept_ppl.analyses.studies.families import FAMILIES
        from concept_ppl.analyses.studies.laboratory import (
            Extent,
            Shard,
            cells_beside,
            run_laboratory,
        )
        from concept_ppl.analyses.studies.regimes import REGIMES
        from concept_ppl.analyses.studies.theory import THEORY

        if name == "families" and worlds is not None:
            raise InputError("study families trains its networks in one world; leave out --worlds.")
        goes_on_from(cells_beside(output) if cells is None else cells)
        page = run_laboratory(
            {"theory": THEORY, "regimes": REGIMES, "families": FAMILIES}[name],
            Extent(full=full, seed=seed, level=level, worlds=worlds, seeds=seeds, most_steps=steps),
            output,
            command=this_command(),
            stage=stage,
            shard=Shard.parse(shard),
            cells=cells,
            n_workers=workers,
            force=force,
        )
        typer.echo(f"shard {shard} is done" if page is None else str(page))


_add("theory", "Ask, in the world of the paper, what recovery depends on and what accuracy hides.")
_add("regimes", "Map where the claim holds: what y tells of c, what x tells of c, how wide f is.")
_add("families", "Train every architecture in one world, and compare what each has learned.")
