"""One site's states on the disk: a safetensors file, written row by row in place, then mapped.

The file is reserved at its full size before the first row, so that a full disk is noticed at once;
it is read through a memory map, so that opening it costs nothing and reading rows costs those rows.
"""

import errno
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from concept_ppl.errors import InputError

StateType = Literal["float32", "float16", "bfloat16"]
# Name of the type in safetensors, and how numpy, which knows no bfloat16, holds its bits.
STORED_AS: dict[StateType, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype("<f4")),
    "float16": ("F16", np.dtype("<f2")),
    "bfloat16": ("BF16", np.dtype("<u2")),
}
ALIGNMENT = 64
CANNOT_RESERVE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
ROWS_AT_ONCE = 16_384


def check_state_type(name: str) -> StateType:
    """Return one of the names in ``STORED_AS``, or say which there are."""
    for known in STORED_AS:
        if name == known:
            return known
    raise InputError(f"States are not stored as '{name}'; choose {', '.join(STORED_AS)}.")


def shard_name(site: str) -> str:
    """Return the name of a site's file."""
    return f"{site}.safetensors"


def shard_size(site: str, shape: tuple[int, int], dtype: StateType) -> int:
    """Return the bytes that a shard takes."""
    return len(_header(site, shape, dtype)) + _n_bytes(shape, dtype)


def create_shard(path: Path, site: str, shape: tuple[int, int], dtype: StateType) -> None:
    """Reserve a shard of zeros.

    Raises
    ------
    OSError
        If the disk lacks the room.
    """
    header = _header(site, shape, dtype)
    size = len(header) + _n_bytes(shape, dtype)
    with path.open("wb") as file:
        file.write(header)
        file.flush()
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            # A map into a file with holes dies of a signal where the disk is full.
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in CANNOT_RESERVE:
                    raise


def map_shard(path: Path, site: str, *, writable: bool = False) -> NDArray[Any]:
    """Map a shard's matrix as it is stored; bfloat16 as the integers that hold its bits.

    Raises
    ------
    InputError
        If the file cannot be read, holds no such matrix, or has not the size that it says.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            entry = json.loads(file.read(length))[site]
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            whole = os.fstat(file.fileno()).st_size == end
        shape = tuple(entry["shape"])
        (stored,) = (kind for name, kind in STORED_AS.values() if name == entry["dtype"])
        if not whole or end - start != int(np.prod(shape)) * stored.itemsize:
            raise InputError(f"{path} cannot be read: it is not whole; extract the states anew.")
        if end == start:
            return np.empty(shape, stored)
        mode: Literal["r", "r+"] = "r+" if writable else "r"
        return np.memmap(path, dtype=stored, mode=mode, offset=start, shape=shape)
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        raise InputError(
            f"{path} cannot be read at site {site} ({error}); extract the states anew."
        ) from error


def narrowed(values: NDArray[np.float32], dtype: StateType) -> NDArray[Any]:
    """Round float32 states to the type that is stored; what is too large becomes infinite."""
    if dtype == "float32":
        return values
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype("<f2")
    bits = values.view(np.uint32)
    to_even = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    rounded: NDArray[Any] = ((bits + to_even) >> 16).astype("<u2")
    return rounded


def widened(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return stored states as float32: a map as it is, what is narrower as a copy in memory."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored if stored.dtype == np.float32 else stored.astype(np.float32)


def row_blocks(states: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield ``(n_rows, width)`` states some rows at a time: a map need not fit in memory."""
    for start in range(0, len(states), ROWS_AT_ONCE):
        yield states[start : start + ROWS_AT_ONCE]


def first_row_not_finite(states: NDArray[np.float32]) -> int | None:
    """Return the first row of ``(n_rows, width)`` that holds NaN or infinity, if there is one."""
    before = 0
    for block in row_blocks(states):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            return before + int(np.argmin(finite))
        before += len(block)
    return None


def row_norms(states: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Euclidean norm of each row of ``(n_rows, width)``."""
    norms = [np.linalg.norm(block.astype(np.float64), axis=1) for block in row_blocks(states)]
    return np.concatenate(norms) if norms else np.empty(0)


def outlying_rows(states: NDArray[np.float32], factor: float) -> NDArray[np.int64]:
    """Return the rows of ``(n_rows, width)`` longer than ``factor`` times the median length."""
    norms = row_norms(states)
    return np.flatnonzero(norms > factor * np.median(norms)) if len(norms) else np.arange(0)


def require_finite(states: NDArray[np.float32], path: Path, site: str) -> NDArray[np.float32]:
    """Return the states of a shard, unless one is NaN or infinite.

    Raises
    ------
    InputError
        The message names the file, the site and the row.
    """
    row = first_row_not_finite(states)
    if row is None:
        return states
    raise InputError(
        f"{path} holds NaN or infinity at site {site}, row {row} (counted from 0); extract the "
        "states anew."
    )


def _header(site: str, shape: tuple[int, int], dtype: StateType) -> bytes:
    """Return the head of the safetensors format: its length, then JSON, padded with spaces."""
    end = _n_bytes(shape, dtype)
    entry = {"dtype": STORED_AS[dtype][0], "shape": list(shape), "data_offsets": [0, end]}
    text = json.dumps({site: entry}, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _n_bytes(shape: tuple[int, int], dtype: StateType) -> int:
    return shape[0] * shape[1] * STORED_AS[dtype][1].itemsize
