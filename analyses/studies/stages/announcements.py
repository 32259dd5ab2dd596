"""How a study says how far it is, whoever shows it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

Progress = Callable[[int, int], None]
"""Takes how much is done, and of how much."""

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Opens a progress display for a named stage of the work."""


@contextmanager
def silently(_: str) -> Iterator[Progress]:
    """Show nothing: the stage of a study that a script runs."""

    def say_nothing(done: int, total: int) -> None:
        del done, total

    yield say_nothing


@dataclass
class Counter:
    """Counts steps for a progress display; where there are more than was foreseen, it says so."""

    total: int
    progress: Progress | None
    done: int = 0

    def step(self) -> None:
        """Count one more."""
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, max(self.total, self.done))
