"""Before and after: does the claim come true as a language model comes to predict as Bayes does?

A language model's training is continued on a world's own texts by next-token prediction, and
everything is asked again along the way: how far its next-word distribution is from Bayes's, and how
far its states are an invertible affine image of the log-posterior.
"""

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.laboratory.cells import Cell, follow_parent
from concept_ppl.analyses.studies.stages.announcements import Progress, Stage
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.bridge import find_language_model
from concept_ppl.errors import InputError
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .plan import AdaptationStudy, Training
from .report import adaptation_report
from .trainings import Workshop
from .verdicts import Looks

POLL_SECONDS = 1.0


def run_adaptation(
    study: AdaptationStudy,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    cells: Path | None = None,
    n_workers: int = 1,
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
    n_workers
        Trainings at the same time, each a process with one thread; 1 trains one after the other in
        this process, with the threads that it has.
    force
        Replace a report that is already there.

    Raises
    ------
    InputError, ModelError, LanguageModelError
        If an argument, the world, the language model, a folder or the disk's room is not usable.
    """
    check_level(study.level)
    if n_workers < 1:
        raise InputError(f"workers is {n_workers}; give at least 1.")
    require_writable(folder, force=force, known_by=REPORT_FILES)
    if study.language_model is not None:
        with stage("find the language model"):
            find_language_model(study.language_model)
    target = Path(folder)
    shop = Workshop(study, cells or target.with_name(f"{target.resolve().name}.cells"))
    with stage("load the language model"):
        shop.check()
    _make(shop.folder)
    with stage("simulate held-out texts, compute exact posteriors"):
        shop.answer_standing()
    if n_workers == 1:
        for training in study.trainings:
            with stage(f"train on {training.name}") as progress:
                shop.train(training, progress)
    else:
        with stage("train and ask") as progress:
            _train_side_by_side(shop, n_workers, progress)
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


def _train_side_by_side(shop: Workshop, n_workers: int, progress: Progress) -> None:
    paths = [shop.path(cell) for cell in _every_cell(shop)]
    context = get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=follow_parent) as pool:
        waiting = {
            pool.submit(_train_one, shop.study, shop.folder, training)
            for training in shop.study.trainings
        }
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
            progress(sum(path.is_file() for path in paths), len(paths))
            for future in done:
                if (error := future.exception()) is not None:
                    pool.shutdown(cancel_futures=True)
                    raise error


def _train_one(study: AdaptationStudy, folder: Path, training: Training) -> None:
    torch.set_num_threads(1)
    Workshop(study, folder).train(training, None)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}.") from error
