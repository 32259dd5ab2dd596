"""How studies of simulated worlds run: a plan of cells, answered once, composed into a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.errors import InputError
from concept_ppl.outputs import require_writable
from concept_ppl.reports import Report, build_manifest, write_report

from .cells import Cell, Shard, answer_cells, read_cells
from .measures import measure
from .over_worlds import cell_frame

WORLDS_PER_SEED = 1000


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
    shard: Shard | None = None,
    cells: Path | None = None,
    n_workers: int = 2,
    force: bool = False,
) -> Path | None:
    """Answer the cells of a study that have no answer yet, and write its report.

    Parameters
    ----------
    study, extent
        What to do, and how much of it.
    folder
        Of the report.
    command, stage
        For the manifest, and to show progress.
    shard
        Answer a part of the cells only, and write no report.
    cells
        Folder of the answers; by default beside the report, ``<folder>.cells``.
    n_workers
        Processes, one thread each.
    force
        Replace a report that is already there. Cells are never replaced.

    Returns
    -------
    Path or None
        The page; None after a shard.

    Raises
    ------
    InputError
        If an argument or a folder is not usable.
    """
    check_level(extent.level)
    if n_workers < 1:
        raise InputError(f"workers is {n_workers}; give at least 1.")
    require_writable(folder, force=force, known_by=REPORT_FILES)
    store = cells or cells_beside(folder)
    plan = study.plan(extent)
    part = plan if shard is None else shard.of(plan)
    with stage("answer cells") as progress:
        answer_cells(part, measure, store, n_workers=n_workers, progress=progress)
    if shard is not None and not shard.is_whole:
        return None
    frame = cell_frame(read_cells(plan, store))
    report = study.compose(frame, extent, _manifest(study, extent, command, len(plan)))
    with stage("write the report"):
        return write_report(report, folder, force=force)


def cells_beside(folder: str | Path) -> Path:
    """Return the folder of a study's answers that is used where none is named."""
    return Path(folder).with_name(f"{Path(folder).resolve().name}.cells")


def _manifest(
    study: LaboratoryStudy, extent: Extent, command: Sequence[str], n_cells: int
) -> Mapping[str, Any]:
    return build_manifest(
        command=list(command),
        arguments={
            "study": study.name,
            "extent": "full" if extent.full else "quick",
            "level": extent.level,
            "cells": n_cells,
            "steps": extent.steps,
        },
        seeds={"worlds": extent.world_numbers.start, "networks": extent.seed_numbers.start},
        inputs={},
    )
