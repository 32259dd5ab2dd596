"""Work that is done once: a study is a plan of cells, each answered into a file named by its cause.

A cell is all that decides its numbers: a world with its parameters, an architecture, a seed, what
is measured, by which versions of what, on what kind of processor. Its file is named by the SHA-256
of these, and is written as a whole, so that a killed study leaves no half of one. The next call
answers what is missing and reads the rest. Reports are made from the files alone, whether they are
a second or a month old, and are therefore the same bit for bit.

A cell that fails leaves a record of its error beside the others, which go on, and is tried again by
the next call.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from concept_ppl.analyses.studies.stages.announcements import Progress
from concept_ppl.distributed import Crew, Failure, Part, Store, environment, finish
from concept_ppl.errors import InputError
from concept_ppl.reports.manifest import plain

Settings = Mapping[str, Any]
Answers = Mapping[str, float | str]
Measure = Callable[[Settings], Answers]
"""Takes the settings of a cell; a function of a module, so that another process finds it."""
FAILED = ".failed.json"


@dataclass(frozen=True)
class Cell:
    """What is measured, where.

    Attributes
    ----------
    settings
        All that decides the numbers, fit for JSON.
    environment
        Versions and processor that decide them too; by default those of this process.
    """

    settings: Settings
    environment: Mapping[str, str] = field(default_factory=environment)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of settings and environment, 32 hexadecimal digits of it."""
        cause = {"settings": plain(self.settings), "environment": plain(self.environment)}
        return hashlib.sha256(_canonical(cause).encode()).hexdigest()[:32]

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.digest}.json"


@dataclass(frozen=True)
class FailedCell:
    """A cell without answers, and why."""

    cell: Cell
    failure: Failure


def in_environment(plan: Sequence[Cell], computed_in: Mapping[str, str]) -> list[Cell]:
    """Return the cells as another environment answers them."""
    return [replace(cell, environment=computed_in) for cell in plan]


def answer_cells(
    plan: Sequence[Cell],
    measure: Measure,
    store: Store,
    crew: Crew,
    *,
    progress: Progress | None = None,
) -> tuple[int, list[FailedCell]]:
    """Answer every cell that has no file yet; return how many that were, and which failed.

    Parameters
    ----------
    plan
        Cells in the environment of the crew; equal ones are answered once.
    measure
        Answers a cell.
    store
        Receives a file a cell, and one that ends in ``.failed.json`` of a cell that failed.
    crew
        Who answers.
    progress
        Called with (cells that are finished or have failed, cells of the plan).

    Raises
    ------
    InputError
        If the store cannot be written, or nobody can work.
    """
    distinct = {cell.file: cell for cell in plan}
    parts = [Part((cell.file,), cell) for cell in distinct.values()]
    prepare = partial(_answering, measure)
    done, failed = finish(parts, store, crew, prepare, progress=progress)
    failures = [FailedCell(one.part.argument, one.failure) for one in failed]
    for one in failures:
        store.write(f"{one.cell.digest}{FAILED}", _stored(one.cell, error=_record(one.failure)))
    are_failed = {f"{one.cell.digest}{FAILED}" for one in failures}
    for name in store.names() - are_failed:
        if name.endswith(FAILED) and name.replace(FAILED, ".json") in distinct:
            store.remove(name)  # it has been answered since
    return done, failures


def read_cells(plan: Sequence[Cell], store: Store) -> list[dict[str, Any]]:
    """Return the settings and answers of each cell, in the order of the plan.

    Raises
    ------
    InputError
        If a cell has no file, or a file that is not its own.
    """
    there = store.names()
    missing = [cell for cell in plan if cell.file not in there]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(plan)} cells are missing in {store}; run the study again."
        )
    return [_read(store, cell) for cell in plan]


def _answering(measure: Measure) -> Callable[[Cell], dict[str, bytes]]:
    """Return what a worker does with a cell; numbers come back as the bytes of its file."""

    def answer(cell: Cell) -> dict[str, bytes]:
        return {cell.file: _stored(cell, answers=_finite(measure(cell.settings)))}

    return answer


def _stored(cell: Cell, **what: object) -> bytes:
    whole = {"settings": plain(cell.settings), "environment": plain(cell.environment), **what}
    return (_canonical(whole) + "\n").encode()


def _record(failure: Failure) -> dict[str, str]:
    return {"reason": failure.reason, "traceback": failure.details}


def _read(store: Store, cell: Cell) -> dict[str, Any]:
    path = f"{store}/{cell.file}"
    try:
        stored = json.loads(store.read(cell.file))
        is_own = stored["settings"] == json.loads(_canonical(plain(cell.settings)))
        found = stored["answers"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no cell of a study; remove it and run again.") from error
    if not is_own:
        raise InputError(f"{path} holds other settings than its name says; remove it.")
    answers = {key: math.nan if value is None else value for key, value in found}
    return {**stored["settings"], **answers}


def _finite(answers: Answers) -> dict[str, float | str | None]:
    """Put None for what has no value; JSON knows neither NaN nor infinity."""
    return {
        key: value if isinstance(value, str) or math.isfinite(value) else None
        for key, value in answers.items()
    }


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
