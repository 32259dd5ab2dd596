"""A fit that was stopped goes on where it was: its state on disk, replaced whole or not at all.

A checkpoint is numbers and text alone: arrays in npz, the rest as JSON among them. Opening one runs
no code, wherever it comes from.
"""

import hashlib
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file

SECONDS_BETWEEN = 5.0
TEXT = "state"
"""The member of the archive that holds the JSON; arrays are numbered."""
UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RecursionError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)
"""What reading a file that is no checkpoint may raise."""

Arrays = Mapping[str, NDArray[Any]]


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
            stored = _read(self.path)
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
        arrays: dict[str, NDArray[Any]] = {}
        text = json.dumps(_packed({"identity": self.identity, "state": state()}, arrays))
        arrays[TEXT] = np.frombuffer(text.encode(), np.uint8)
        with new_file(self.path, force=True) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs know no names
        self._last = time.monotonic()


def _packed(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return what JSON holds of a value; its arrays are added to ``arrays``."""
    if isinstance(value, torch.Tensor | np.ndarray):
        is_tensor = isinstance(value, torch.Tensor)
        key = str(len(arrays))
        arrays[key] = value.detach().numpy() if is_tensor else value
        return {"tensor" if is_tensor else "array": key}
    if isinstance(value, Mapping):
        return {"mapping": [[key, _packed(one, arrays)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        return [_packed(one, arrays) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, arrays: Arrays) -> Any:
    """Return the value behind what :func:`_packed` made; tuples come back as lists."""
    if isinstance(value, list):
        return [_unpacked(one, arrays) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "mapping":
        return {key: _unpacked(one, arrays) for key, one in held}
    if kind not in {"tensor", "array"}:
        raise ValueError(f"'{kind}' is nothing that a checkpoint holds")
    return torch.from_numpy(arrays[held]) if kind == "tensor" else arrays[held]


def _read(path: Path) -> Any:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        arrays = {}
        for member in archive.namelist():
            with archive.open(member) as part:
                array = np.lib.format.read_array(part, allow_pickle=False)
            arrays[member.removesuffix(".npy")] = array
    return _unpacked(json.loads(arrays[TEXT].tobytes()), arrays)


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
