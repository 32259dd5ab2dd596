"""Numbers and text in one file that runs nothing when it is read, wherever it comes from.

An npz archive without objects: tensors and arrays are its members, and one member is the JSON of
all else, in which they are numbered.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TEXT = "state"
"""The member that holds the JSON."""
UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RecursionError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)
"""What reading a file that is no such archive may raise."""

Arrays = dict[str, NDArray[Any]]


def write_state(value: Any, path: Path) -> None:
    """Write mappings, lists, tensors, arrays, numbers, text and None, nested as they are.

    Raises
    ------
    TypeError
        If there is anything else among them.
    """
    arrays: Arrays = {}
    text = json.dumps(_packed(value, arrays))
    arrays[TEXT] = np.frombuffer(text.encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs know no names


def read_state(path: Path) -> Any:
    """Read what :func:`write_state` wrote; tuples come back as lists.

    Raises
    ------
    UNREADABLE
        If the file is no such archive.
    """
    arrays: Arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as part:
                array = np.lib.format.read_array(part, allow_pickle=False)
            arrays[member.removesuffix(".npy")] = array
    return _unpacked(json.loads(arrays[TEXT].tobytes()), arrays)


def _packed(value: Any, arrays: Arrays) -> Any:
    """Return what JSON holds of a value; its arrays are added to ``arrays``."""
    key = str(len(arrays))
    if isinstance(value, torch.Tensor):
        arrays[key] = value.detach().numpy()
        return {"tensor": key}
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {"array": key}
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
