"""Ctrl-C: every command ends within seconds, its children too, and says what it leaves behind."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import psutil

from concept_ppl.outputs import remove_unfinished

INTERRUPTED = 130
"""Exit status of what Ctrl-C ended, as shells have it: 128 and the number of the signal."""
GRACE = 3.0
"""Seconds in which a command may end by itself."""


@dataclass
class Interruption:
    """What a command says if it is interrupted.

    Attributes
    ----------
    kept : Path, str or None
        Where work that is finished is kept for the next run: a file, a folder, or a URL.
    advice : str
        How to keep it, where nothing is.
    """

    kept: Path | str | None = None
    advice: str = ""
    _is_told: threading.Lock = field(default_factory=threading.Lock)

    def tell(self) -> None:
        """Write the line, once."""
        if self._is_told.acquire(blocking=False):
            sys.stderr.write(f"{self.sentence()}\n")
            sys.stderr.flush()

    def sentence(self) -> str:
        """Return what was kept, and how to go on."""
        if self.kept is not None and _holds_something(self.kept):
            return (
                f"interrupted: what was finished is kept in {self.kept}; the same command goes on "
                f"from there."
            )
        advice = f" ({self.advice})" if self.advice else ""
        return f"interrupted: nothing was kept; the same command starts again{advice}."


def goes_on_from(kept: Path | str | None, advice: str = "") -> None:
    """Let the command that runs say, if it is interrupted, where its finished work is kept.

    Parameters
    ----------
    kept
        File, folder or URL; nothing has to be there yet.
    advice
        How to have it kept, where ``kept`` is None.
    """
    running = _RUNNING.get()
    running.kept, running.advice = kept, advice


_RUNNING: ContextVar[Interruption] = ContextVar("running", default=Interruption())  # noqa: B039


@contextmanager
def ending_in_time() -> Iterator[Interruption]:
    """Yield what the command says, and end a process that outlives an interrupt.

    It has :data:`GRACE` seconds. Python handles a signal between two steps of its own, which a
    long product of matrices, or a library that waits for its children, puts off. The system itself
    writes to the wake-up socket, so that a thread that listens there hears of the interrupt at
    once. A second interrupt ends the process at once.
    """
    interruption = Interruption()
    _RUNNING.set(interruption)
    if not _hears_interrupts():
        yield interruption
        return
    bell, ear = socket.socketpair()
    bell.setblocking(False)
    before = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    heard = threading.Event()
    threading.Thread(target=_listen, args=(ear, heard, interruption), daemon=True).start()
    try:
        yield interruption
    finally:
        # After an interrupt the thread listens on: Python itself may wait for children at its end.
        if not heard.is_set():
            signal.set_wakeup_fd(before)
            bell.close()


def _hears_interrupts() -> bool:
    """Whether Python acts on interrupts (a shell's background job does not), in this thread."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and callable(signal.getsignal(signal.SIGINT))


def _listen(ear: socket.socket, heard: threading.Event, interruption: Interruption) -> None:
    """Wait for an interrupt, and end the process when it is still there after the grace."""
    with ear:
        while not heard.is_set():
            number = ear.recv(1)
            if not number:  # the command is done
                return
            if number[0] == signal.SIGINT:
                heard.set()
        ear.settimeout(GRACE)
        with suppress(TimeoutError):
            ear.recv(1)
    end_now(interruption)


def end_now(interruption: Interruption) -> NoReturn:
    """End this process and those that it started, without waiting for any of them."""
    interruption.tell()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    remove_unfinished()
    os._exit(INTERRUPTED)


def _holds_something(kept: Path | str) -> bool:
    """Whether the file is there, or one in the folder that is no stopped worker's temporary one.

    Another machine is not asked while the command ends.
    """
    path = Path(kept)
    if "://" in str(kept):
        return True
    if not path.is_dir():
        return path.exists()
    return any(not member.name.startswith(".") for member in path.iterdir())
