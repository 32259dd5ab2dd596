"""Work that is done once: a study is a plan of cells, each answered into a file named by its cause.

A cell is all that decides its numbers: a world with its parameters, an architecture, a seed, what
is measured and by which version of the package. Its file is named by the SHA-256 of these, and is
written as a whole under a temporary name, so that a killed study leaves no half of one. The next
call answers what is missing and reads the rest. Reports are made from the files alone, whether they
are a second or a month old, and are therefore the same bit for bit.

Shards divide a plan by world and seed. Machines that share no disk work on a shard each; their
files, put into one folder, are the whole plan.
"""

import hashlib
import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from concept_ppl.analyses.studies.stages.announcements import Progress
from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file
from concept_ppl.reports.manifest import plain

Settings = Mapping[str, Any]
Answers = Mapping[str, float | str]
Measure = Callable[[Settings], Answers]
"""Takes the settings of a cell; a function of a module, so that another process finds it."""


@dataclass(frozen=True)
class Cell:
    """What is measured, where.

    Attributes
    ----------
    settings
        All that decides the numbers, fit for JSON.
    unit
        World and seed: cells of one unit are in one shard.
    """

    settings: Settings
    unit: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the settings and the version of the package, 32 hexadecimal digits of it."""
        cause = {"settings": plain(self.settings), "concept-ppl": version("concept-ppl")}
        return hashlib.sha256(_canonical(cause).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of a plan, counted from 1."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(
                f"shard {self.number}/{self.count} does not exist; give 1/{self.count} to "
                f"{self.count}/{self.count}."
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``2/5``."""
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal()):
            raise InputError(f"shard '{text}' is not of the form 2/5, the second of five.")
        return cls(int(number), int(count))

    @property
    def is_whole(self) -> bool:
        """Whether there is only one."""
        return self.count == 1

    def of(self, plan: Sequence[Cell]) -> list[Cell]:
        """Return the cells of this shard: units are dealt in the order of the plan."""
        place = {unit: i for i, unit in enumerate(dict.fromkeys(cell.unit for cell in plan))}
        return [cell for cell in plan if place[cell.unit] % self.count == self.number - 1]


def answer_cells(
    plan: Sequence[Cell],
    measure: Measure,
    folder: Path,
    *,
    n_workers: int = 2,
    progress: Progress | None = None,
) -> int:
    """Answer every cell that has no file yet; return how many that were.

    Each worker is a process that computes with one thread, so that its numbers do not depend on
    how many there are. A worker whose parent was killed stops.

    Parameters
    ----------
    plan
        Cells; equal ones are answered once.
    measure
        Answers a cell.
    folder
        Receives a file a cell; made where it is missing.
    n_workers
        Processes; 1 computes in this one.
    progress
        Called with (cells that have a file, cells of the plan).

    Raises
    ------
    InputError
        If the folder cannot be written, or a cell cannot be answered.
    """
    distinct = {cell.digest: cell for cell in plan}
    _make(folder)
    missing = [cell for cell in distinct.values() if not _path(folder, cell).is_file()]
    done = len(distinct) - len(missing)
    report = progress or (lambda _done, _total: None)
    report(done, len(distinct))
    if n_workers == 1 or len(missing) < 2:
        for number, cell in enumerate(missing, start=done + 1):
            _answer(cell, measure, folder)
            report(number, len(distinct))
        return len(missing)
    with _workers(n_workers) as pool:
        with _deaf_to_interrupts():  # a worker is deaf from its first moment on
            futures = [pool.submit(_answer, cell, measure, folder) for cell in missing]
        for number, future in enumerate(as_completed(futures), start=done + 1):
            _raise_at_once(future, pool)
            report(number, len(distinct))
    return len(missing)


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start workers, and end them at once, whatever they are at, if this process is interrupted."""
    context = get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=follow_parent) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, SystemExit):
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()
            raise


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started here hear no Ctrl-C; one that comes meanwhile comes after."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def read_cells(plan: Sequence[Cell], folder: Path) -> list[dict[str, Any]]:
    """Return the settings and answers of each cell, in the order of the plan.

    Raises
    ------
    InputError
        If a cell has no file, or a file that is not its own.
    """
    missing = [cell for cell in plan if not _path(folder, cell).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(plan)} cells are missing in {folder}; run the remaining "
            "shards, or the study without --shard."
        )
    return [_read(folder, cell) for cell in plan]


def _answer(cell: Cell, measure: Measure, folder: Path) -> None:
    if _path(folder, cell).is_file():  # meanwhile another machine that shares the folder did it
        return
    with threadpool_limits(1):
        answers = measure(cell.settings)
    stored = {"settings": plain(cell.settings), "answers": _finite(answers)}
    with new_file(_path(folder, cell), force=True) as temporary:
        temporary.write_text(_canonical(stored) + "\n", encoding="utf-8")


def _read(folder: Path, cell: Cell) -> dict[str, Any]:
    path = _path(folder, cell)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        is_own = stored["settings"] == json.loads(_canonical(plain(cell.settings)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no cell of a study; remove it and run again.") from error
    if not is_own:
        raise InputError(f"{path} holds other settings than its name says; remove it.")
    answers = {
        key: math.nan if value is None else value for key, value in stored["answers"].items()
    }
    return {**stored["settings"], **answers}


def _finite(answers: Answers) -> dict[str, float | str | None]:
    """Put None for what has no value; JSON knows neither NaN nor infinity."""
    return {
        key: value if isinstance(value, str) or math.isfinite(value) else None
        for key, value in answers.items()
    }


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _path(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.digest}.json"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}.") from error


def follow_parent() -> None:
    """Stop this worker when its parent is gone; left alone it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _raise_at_once(future: Future[None], pool: ProcessPoolExecutor) -> None:
    error = future.exception()
    if error is not None:
        pool.shutdown(cancel_futures=True)
        raise error
