"""How studies of simulated worlds run: a plan of cells, answered once, composed into a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.distributed import Machines, Store, environment, hired
from concept_ppl.errors import UnfinishedError
from concept_ppl.outputs import require_writable
from concept_ppl.reports import Report, build_manifest, write_report

from .cells import Cell, FailedCell, answer_cells, in_environment, read_cells
from .failures import failed_section
from .measures import measure
from .over_worlds import cell_frame

WORLDS_PER_SEED = 1000
TWO_PROCESSES = Machines(workers=2)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a study to do.

    Attributes
    ----------
    full
        A night's work in place of minutes: more worlds, seeds, settings and steps.
    seed
        Of the worlds, and of the networks in them; other seeds draw other worlds.
    level
        Of the intervals.
    worlds, seeds
        How many random worlds, and how many networks in each that the bars rest on; by default 5
        and 3, with ``full`` 12 and 5.
    most_steps
        Steps of training at most; by default 500, with ``full`` 3000.
    """

    full: bool = False
    seed: int = 0
    level: float = 0.95
    worlds: int | None = None
    seeds: int | None = None
    most_steps: int | None = None

    @property
    def world_numbers(self) -> range:
        """Seeds of the random worlds."""
        first = WORLDS_PER_SEED * self.seed
        return range(first, first + (self.worlds or (12 if self.full else 5)))

    @property
    def seed_numbers(self) -> range:
        """Seeds of the networks in a world."""
        return range(self.seeds or (5 if self.full else 3))

    @property
    def steps(self) -> int:
        """Steps of training at most."""
        return self.most_steps or (3000 if self.full else 500)


Plan = Callable[[Extent], list[Cell]]
Compose = Callable[[pd.DataFrame, Extent, Mapping[str, Any]], Report]


@dataclass(frozen=True, slots=True)
class LaboratoryStudy:
    """A study of simulated worlds.

    Attributes
    ----------
    name
        Of the command.
    plan
        The cells that an extent asks for.
    compose
        The report of a frame with a row a cell (see ``over_worlds.cell_frame``).
    """

    name: str
    plan: Plan
    compose: Compose


def run_laboratory(
    study: LaboratoryStudy,
    extent: Extent,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    cells: str | Path | None = None,
    machines: Machines = TWO_PROCESSES,
    force: bool = False,
) -> Path:
    """Answer the cells of a study that have no answer yet, and write its report.

    A cell that fails is left out of every number; the report says how many did, and why.

    Parameters
    ----------
    study, extent
        What to do, and how much of it.
    folder
        Of the report.
    command, stage
        For the manifest, and to show progress.
    cells
        Folder of the answers, or a URL that fsspec reaches; by default beside the report,
        ``<folder>.cells``.
    machines
        Where cells are answered.
    force
        Replace a report that is already there. Cells are never replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If an argument, a folder or a cluster is not usable.
    UnfinishedError
        If so many cells failed that no report can be made of the others.
    """
    check_level(extent.level)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    store = Store(cells or cells_beside(folder))
    with hired(machines) as crew:
        plan = in_environment(study.plan(extent), crew.environment)
        with stage("answer cells") as progress:
            _, failed = answer_cells(plan, measure, store, crew, progress=progress)
    manifest = _manifest(study, extent, command, plan)
    report = _composed(study, extent, plan, store, failed, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)


def _composed(
    study: LaboratoryStudy,
    extent: Extent,
    plan: Sequence[Cell],
    store: Store,
    failed: Sequence[FailedCell],
    manifest: Mapping[str, Any],
) -> Report:
    """Compose the report of what was answered, and put before it what was not."""
    left_out = {one.cell.digest for one in failed}
    answered = [cell for cell in plan if cell.digest not in left_out]
    try:
        report = study.compose(cell_frame(read_cells(answered, store)), extent, manifest)
    except Exception as error:
        if not failed:
            raise
        raise UnfinishedError(
            f"{len(failed)} of {len(plan)} cells failed, and no report can be made of the others; "
            f"the first of them: {failed[0].failure.reason}"
        ) from error
    if not failed:
        return report
    return replace(report, sections=[failed_section(failed, len(plan)), *report.sections])


def cells_beside(folder: str | Path) -> Path:
    """Return the folder of a study's answers that is used where none is named."""
    return Path(folder).with_name(f"{Path(folder).resolve().name}.cells")


def _manifest(
    study: LaboratoryStudy, extent: Extent, command: Sequence[str], plan: Sequence[Cell]
) -> Mapping[str, Any]:
    computed_in = plan[0].environment if plan else environment()
    return build_manifest(
        command=list(command),
        arguments={
            "study": study.name,
            "extent": "full" if extent.full else "quick",
            "level": extent.level,
            "cells": len(plan),
            "steps": extent.steps,
            "environment": dict(computed_in),
        },
        seeds={"worlds": extent.world_numbers.start, "networks": extent.seed_numbers.start},
        inputs={},
    )
