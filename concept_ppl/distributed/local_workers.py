"""Workers on this machine: this process itself, or processes that it starts."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any

from concept_ppl.errors import InputError

from .attempts import Ask, Done, Failure, Prepare, attempt, reason_of
from .crews import Worker
from .environments import environment

HERE = "this machine"
GRACE_SECONDS = 5.0


@dataclass
class LocalCrew:
    """One worker in this process, or several in processes of their own.

    Attributes
    ----------
    n_workers
        1 computes in this process.
    """

    n_workers: int
    environment: Mapping[str, str] = field(default_factory=environment)
    patience: float = 0.0
    excluded: bool = False

    def hire(self, prepare: Prepare, have: Counter[str], wanted: int) -> Sequence[Worker]:
        """Return the workers that are missing."""
        missing = 0 if self.excluded else min(self.n_workers, wanted) - have[HERE]
        if self.n_workers == 1:
            return [OwnProcess(prepare) for _ in range(missing)]
        return [OtherProcess(prepare) for _ in range(missing)]

    def exclude(self, place: str, why: str) -> None:
        """Hire nobody any more: there is no other place."""
        del place, why
        self.excluded = True

    def lost(self, place: str, error: BaseException) -> str:
        """Say why a worker was lost; a broken pool does not know more."""
        if not isinstance(error, BrokenExecutor):  # what it was sent, or sent back, cannot travel
            return reason_of(error)
        return f"its worker on {place} died; it was killed, or there was not enough memory."


@dataclass
class OwnProcess:
    """A worker that is this process itself: it answers while it is asked."""

    prepare: Prepare
    answer: Ask | None = None
    place: str = HERE

    def start(self) -> "Future[Done | Failure]":
        """Get ready at once."""
        result = attempt(self.prepare)
        if isinstance(result, Done):
            self.answer = result.value
        return _finished(result)

    def ask(self, argument: Any) -> "Future[Done | Failure]":
        """Answer at once."""
        assert self.answer is not None
        return _finished(attempt(self.answer, argument))

    def end(self) -> None:
        """Nothing is left to stop."""


@dataclass
class OtherProcess:
    """A process beside this one, which ends with it; it is deaf to Ctrl-C, which is meant for us.

    A pool of one process, so that a worker that is killed takes no other one's part with it.
    """

    prepare: Prepare
    place: str = HERE
    pool: ProcessPoolExecutor = field(init=False)
    process: BaseProcess | None = None

    def __post_init__(self) -> None:
        self.pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=follow_parent
        )

    def start(self) -> "Future[Done | Failure]":
        """Start the process, and let it get ready."""
        before = set(active_children())
        with _deaf_to_interrupts():  # it is deaf from its first moment on
            future = self.pool.submit(_get_ready, self.prepare)
        self.process = next(iter(set(active_children()) - before), None)
        return future

    def ask(self, argument: Any) -> "Future[Done | Failure]":
        """Let it answer; a pool that is broken already says so in the future."""
        try:
            return self.pool.submit(_answer, argument)
        except RuntimeError as error:
            broken: Future[Done | Failure] = Future()
            broken.set_exception(error)
            return broken

    def end(self) -> None:
        """End the process at once, whatever it is at."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        if self.process is not None:
            self.process.terminate()
            self.process.join(GRACE_SECONDS)


def check_workers(n_workers: int | None) -> None:
    """Refuse a number of workers below 1."""
    if n_workers is not None and n_workers < 1:
        raise InputError(f"workers is {n_workers}; give at least 1.")


_READY: list[Ask] = []
"""In a process that is a worker: what answers its parts."""


def _get_ready(prepare: Prepare) -> Done | Failure:
    result = attempt(prepare)
    if isinstance(result, Failure):
        return result
    _READY[:] = [result.value]
    return Done(None)


def _answer(argument: Any) -> Done | Failure:
    return attempt(_READY[0], argument)


def follow_parent() -> None:
    """Stop this worker when its parent is gone; left alone it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


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


def _finished(result: Done | Failure) -> "Future[Done | Failure]":
    future: Future[Done | Failure] = Future()
    future.set_result(result)
    return future
