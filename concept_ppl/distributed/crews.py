"""Workers answer parts until all are answered or have failed, whatever happens to the workers.

A part goes to one worker at a time. If the worker dies or the part raises, the part is done again,
elsewhere where there is an elsewhere, :data:`MOST_TRIES` times in all. Answers come as they are
made; what they are does not depend on who made them.
"""

import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from concept_ppl.errors import InputError

from .attempts import Done, Failure, Prepare

__all__ = ["MOST_TRIES", "Answer", "Crew", "Failure", "Prepare", "Worker", "answers"]

MOST_TRIES = 3
POLL_SECONDS = 1.0


class Worker(Protocol):
    """One that answers a part at a time."""

    @property
    def place(self) -> str:
        """Where it is: workers of one place share their fate."""

    def start(self) -> "Future[Done | Failure]":
        """Get ready; a failure says what the place lacks."""

    def ask(self, argument: Any) -> "Future[Done | Failure]":
        """Answer a part; the future raises if the worker dies."""

    def end(self) -> None:
        """Stop at once, whatever it is at."""


class Crew(Protocol):
    """Where workers come from.

    Attributes
    ----------
    environment
        What all of its workers compute with; see :func:`environment`.
    """

    environment: Mapping[str, str]

    @property
    def patience(self) -> float:
        """Seconds without any worker after which work is given up."""

    def hire(self, prepare: Prepare, have: Counter[str], wanted: int) -> Sequence[Worker]:
        """Return more workers: of those at each place there are so many, and this many parts."""

    def exclude(self, place: str, why: str) -> None:
        """Hire nobody at this place for work that it cannot do."""

    def lost(self, place: str, error: BaseException) -> str:
        """Say in one sentence why a worker was lost."""


@dataclass(frozen=True)
class Answer:
    """What became of one part.

    Attributes
    ----------
    index
        Of the part.
    value
        Its answer.
    failure
        Why it has none, after :data:`MOST_TRIES` tries.
    """

    index: int
    value: Any = None
    failure: Failure | None = None


def answers(
    crew: Crew, prepare: Prepare, arguments: Sequence[Any]
) -> Generator[Answer, None, None]:
    """Yield the answer of each part as it is made.

    Parameters
    ----------
    crew
        Who works.
    prepare
        Called once by each worker, for instance to load a language model; the function that it
        returns is called with each argument.
    arguments
        One a part.

    Raises
    ------
    InputError
        If nobody can do this work; the message says why not.
    """
    shift = _Shift(crew, prepare, arguments)
    try:
        yield from shift.work()
    finally:
        shift.end()


@dataclass
class _Shift:
    crew: Crew
    prepare: Prepare
    arguments: Sequence[Any]
    waiting: deque[int] = field(init=False)
    tries: Counter[int] = field(default_factory=Counter)
    starts_lost: Counter[str] = field(default_factory=Counter)
    failed_at: dict[int, str] = field(default_factory=dict)
    """Of a part that is tried again, the place where it failed last."""
    idle: list[Worker] = field(default_factory=list)
    busy: dict["Future[Done | Failure]", tuple[Worker, int | None]] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    alone_since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.arguments)))

    def work(self) -> Iterator[Answer]:
        while self.waiting or any(part is not None for _, part in self.busy.values()):
            self._hire()
            self._hand_out()
            done = wait(self.busy, POLL_SECONDS, FIRST_COMPLETED).done if self.busy else ()
            for future in done:
                worker, part = self.busy.pop(future)
                if part is None:
                    self._started(worker, future)
                elif (answer := self._answered(worker, part, future)) is not None:
                    yield answer

    def end(self) -> None:
        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            worker.end()

    def _hire(self) -> None:
        """Fill up the crew; give up where there has been nobody for long."""
        have = Counter(worker.place for worker in self.idle)
        have.update(worker.place for worker, _ in self.busy.values())
        parts = sum(part is not None for _, part in self.busy.values()) + len(self.waiting)
        for worker in self.crew.hire(self.prepare, have, parts):
            self.busy[worker.start()] = (worker, None)
        if self.idle or self.busy:
            self.alone_since = time.monotonic()
        elif time.monotonic() - self.alone_since >= self.crew.patience:
            why = "; ".join(dict.fromkeys(self.lacking.values())).rstrip(".")
            raise InputError(f"no worker can do this: {why or 'there is no room for one'}.")
        else:
            time.sleep(POLL_SECONDS)

    def _hand_out(self) -> None:
        working = (worker for worker, part in self.busy.values() if part is not None)
        places = {worker.place for worker in (*self.idle, *working)}
        for worker in list(self.idle):
            part = self._next_for(worker, len(places) > 1)
            if part is not None:
                self.idle.remove(worker)
                self.busy[worker.ask(self.arguments[part])] = (worker, part)

    def _next_for(self, worker: Worker, has_elsewhere: bool) -> int | None:
        for part in self.waiting:
            if not (has_elsewhere and self.failed_at.get(part) == worker.place):
                self.waiting.remove(part)
                return part
        return None

    def _started(self, worker: Worker, future: "Future[Done | Failure]") -> None:
        error = future.exception()
        if error is not None:
            worker.end()
            self.starts_lost[worker.place] += 1
            if self.starts_lost[worker.place] >= MOST_TRIES:
                self._exclude(worker.place, self.crew.lost(worker.place, error))
        elif isinstance(result := future.result(), Failure):
            worker.end()
            self._exclude(worker.place, result.reason)
        else:
            self.idle.append(worker)

    def _exclude(self, place: str, why: str) -> None:
        if place not in self.lacking:
            self.lacking[place] = why
            self.crew.exclude(place, why)

    def _answered(
        self, worker: Worker, part: int, future: "Future[Done | Failure]"
    ) -> Answer | None:
        error = future.exception()
        if error is not None:
            worker.end()
            result: Done | Failure = Failure(self.crew.lost(worker.place, error))
        else:
            self.idle.append(worker)
            result = future.result()
        if isinstance(result, Done):
            return Answer(part, result.value)
        self.tries[part] += 1
        if self.tries[part] >= MOST_TRIES:
            return Answer(part, failure=result)
        self.failed_at[part] = worker.place
        self.waiting.append(part)
        return None
