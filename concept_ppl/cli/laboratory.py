"""Studies of simulated worlds, whose posteriors are known: theory, regimes, families."""

from typing import Annotated

import typer

from concept_ppl.errors import InputError

from .application import study_app
from .interruptions import goes_on_from
from .options import (
    LEVEL,
    WORKERS,
    Cells,
    Force,
    Full,
    Level,
    Output,
    Ray,
    Seed,
    Seeds,
    Steps,
    Workers,
    on_machines,
    this_command,
)
from .progress import stage

Worlds = Annotated[
    int | None, typer.Option(min=1, help="Random worlds. Default: 5, with --full 12.")
]


def _add(name: str, question: str) -> None:
    """Give the study of this name its command; all of them take the same options."""

    @study_app.command(name, help=question)
    def run(
        output: Output,
        full: Full = False,
        cells: Cells = None,
        workers: Workers = None,
        ray: Ray = None,
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
            cells=cells,
            machines=on_machines(ray, workers, by_default=WORKERS),
            force=force,
        )
        typer.echo(str(page))


_add("theory", "Ask, in the world of the paper, what recovery depends on and what accuracy hides.")
_add("regimes", "Map where the claim holds: what y tells of c, what x tells of c, how wide f is.")
_add("families", "Train every architecture in one world, and compare what each has learned.")
