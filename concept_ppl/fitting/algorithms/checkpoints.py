"""A fit that was stopped goes on where it was: its state on disk, replaced whole or not at all.

A checkpoint is numbers and text alone; opening one runs no code, wherever it comes from.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file

from .stored_states import UNREADABLE, read_state, write_state

SECONDS_BETWEEN = 5.0


@dataclass
class Checkpoint:
    """The state of one fit, in a file or (``path`` None) nowhere.

    Attributes
    ----------
    path : Path or None
    identity : str
        Digest of the tokens, the model's parameters and all options: a state of another fit is
        refused.
    seconds : float
        Least time between two writes.
    """

    path: Path | None
    identity: str
    seconds: float = SECONDS_BETWEEN
    _last: float = field(default_factory=time.monotonic)

    def load(self) -> dict[str, Any] | None:
        """Return the last state, None if there is none.

        Raises
        ------
        InputError
            If the file is no checkpoint, or one of a fit with other tokens or options.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            stored = read_state(self.path)
            identity, state = stored["identity"], dict(stored["state"])
        except UNREADABLE as error:
            raise InputError(f"{self.path} is no checkpoint; name another file.") from error
        if identity != self.identity:
            raise InputError(
                f"{self.path} is the checkpoint of a fit with another model, other tokens or other "
                f"options; name another file, or delete it to start anew."
            )
        return state

    def save(self, state: Callable[[], Mapping[str, Any]], *, now: bool = False) -> None:
        """Write the state if it is time, or ``now``; the one before stays until this is whole."""
        if self.path is None or not (now or time.monotonic() - self._last >= self.seconds):
            return
        with new_file(self.path, force=True) as temporary:
            write_state({"identity": self.identity, "state": state()}, temporary)
        self._last = time.monotonic()


def identity_of(*parts: Any) -> str:
    """Return a digest of arrays, numbers and names, whatever order a mapping has."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, Mapping):
            for key in sorted(part, key=str):
                digest.update(str(key).encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            digest.update(f"[{len(part)}".encode())
            for one in part:
                add(one)
        else:
            digest.update(repr(part).encode())

    add(parts)
    return digest.hexdigest()
