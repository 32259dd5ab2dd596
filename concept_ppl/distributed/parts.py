"""Work that is done once: each part leaves files, and a part whose files are there is done.

Answers come back to the process that asked, which alone writes: no disk need be shared, and what
was finished before a kill is there for the next run.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from .attempts import Failure
from .crews import Crew, answers
from .stores import Store

Files = Mapping[str, bytes]
PrepareFiles = Callable[[], Callable[[Any], Files]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """Some work, and the files that it leaves.

    Attributes
    ----------
    files
        Their names.
    argument
        What decides their content.
    """

    files: tuple[str, ...]
    argument: Any


@dataclass(frozen=True)
class FailedPart:
    """A part that was tried several times, and why it has no files."""

    part: Part
    failure: Failure


def finish(
    parts: Sequence[Part],
    store: Store,
    crew: Crew,
    prepare: PrepareFiles,
    *,
    progress: Progress | None = None,
) -> tuple[int, list[FailedPart]]:
    """Do every part that has not all of its files yet.

    Parameters
    ----------
    parts
        The whole work.
    store
        Holds the files.
    crew
        Who works.
    prepare
        Called once by each worker; the function that it returns takes a part's argument and
        returns the content of the part's files by name.
    progress
        Called with (parts that are done or have failed, parts).

    Returns
    -------
    int
        How many parts were done now.
    list of FailedPart
        Those that failed; the others are done.
    """
    report = progress or (lambda _done, _total: None)
    there = store.names()
    missing = [part for part in parts if not there.issuperset(part.files)]
    done = len(parts) - len(missing)
    report(done, len(parts))
    failed: list[FailedPart] = []
    with closing(answers(crew, prepare, [part.argument for part in missing])) as made:
        for number, answer in enumerate(made, start=done + 1):
            if answer.failure is not None:
                failed.append(FailedPart(missing[answer.index], answer.failure))
            else:
                for name, content in answer.value.items():
                    store.write(name, content)
            report(number, len(parts))
    return len(missing) - len(failed), failed
