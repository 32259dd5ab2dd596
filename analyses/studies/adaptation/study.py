"""Before and after: does the claim come true as a language model comes to predict as Bayes does?

A language model's training is continued on a world's own texts by next-token prediction, and
everything is asked again along the way: how far its next-word distribution is from Bayes's, and how
far its states are an invertible affine image of the log-posterior.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.laboratory.cells import Cell
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.bridge import find_language_model
from concept_ppl.distributed import (
    ONE_PROCESS,
    Machines,
    Part,
    Store,
    environment,
    finish,
    hired,
)
from concept_ppl.distributed.stores import is_remote
from concept_ppl.errors import InputError, UnfinishedError
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .plan import AdaptationStudy, Training
from .report import adaptation_report
from .trainings import Workshop
from .verdicts import Looks


def run_adaptation(
    study: AdaptationStudy,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    cells: str | Path | None = None,
    machines: Machines = ONE_PROCESS,
    force: bool = False,
) -> Path:
    """Train, ask along the way, write the report; return the path of the page.

    What a killed study has done is found again, to the step of training that was saved last.

    Parameters
    ----------
    study
        What to do.
    folder
        Of the report.
    command, stage
        For the manifest, and to show progress.
    cells
        Folder of finished looks and of trainings under way; by default ``<folder>.cells``.
    machines
        Where trainings run, one a worker, each with one thread; in one process they run one after
        the other, with the threads that it has. Where machines share the folder, a training whose
        machine died goes on from the step that was saved last.
    force
        Replace a report that is already there.

    Raises
    ------
    InputError, ModelError, LanguageModelError
        If an argument, the world, the language model, a folder or the disk's room is not usable.
    UnfinishedError
        If a training failed each time it was tried; the others are finished.
    """
    check_level(study.level)
    if is_remote(cells or ""):
        raise InputError(f"{cells} is no folder of this machine, where trainings go on from.")
    require_writable(folder, force=force, known_by=REPORT_FILES)
    if study.language_model is not None:
        with stage("find the language model"):
            find_language_model(study.language_model)
    target = Path(folder)
    shop = Workshop(study, Path(cells or target.with_name(f"{target.resolve().name}.cells")))
    with stage("load the language model"):
        shop.check()
    _make(shop.folder)
    with stage("simulate held-out texts, compute exact posteriors"):
        shop.answer_standing()
    if machines.is_one_process:
        for training in study.trainings:
            with stage(f"train on {training.name}") as progress:
                shop.train(training, progress)
    else:
        _train_side_by_side(shop, machines, stage)
    looks = Looks(study, shop.read([*shop.standing, *_every_cell(shop)]))
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds={"first training": study.seed, "held-out texts": study.seed, "folds": study.seed},
        inputs={},
        language_model={
            "name": study.language_model or "word-level Llama, from random weights",
            "digest": shop.model_digest,
            "device": device_name(study.device),
        },
    )
    with stage("write the report"):
        return write_report(adaptation_report(looks, manifest), folder, force=force)


def device_name(device: str) -> str:
    """Return what the work ran on, by its name where it has one."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {os.cpu_count()} cores"


def _every_cell(shop: Workshop) -> list[Cell]:
    return [cell for training in shop.study.trainings for cell in shop.cells(training)]


def _train_side_by_side(shop: Workshop, machines: Machines, stage: Stage) -> None:
    parts = [
        Part(tuple(cell.file for cell in shop.cells(training)), training)
        for training in shop.study.trainings
    ]
    with hired(machines) as crew:
        if crew.environment != environment(gpu=shop.study.device != "cpu"):
            raise InputError(
                "the machines of the cluster compute with other versions or processors than this "
                "one, which asked the untrained twin; run the command on one of them."
            )
        prepare = partial(_trainer, shop.study, shop.folder)
        with stage("train and ask") as progress:
            _, failed = finish(parts, Store(shop.folder), crew, prepare, progress=progress)
    if failed:
        raise UnfinishedError(
            f"{len(failed)} of {len(parts)} trainings failed each time they were tried, the first "
            f"on {failed[0].part.argument.name}: {failed[0].failure.reason}"
        )


def _trainer(study: AdaptationStudy, folder: Path) -> Callable[[Training], dict[str, bytes]]:
    """Return what a worker does with a training: the files of its looks."""
    shop = Workshop(study, folder)

    def train(training: Training) -> dict[str, bytes]:
        _make(folder)
        shop.train(training, None)
        return {cell.file: shop.path(cell).read_bytes() for cell in shop.cells(training)}

    return train


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}.") from error
