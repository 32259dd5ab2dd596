"""Rows of stored matrices, a chunk at a time: `.npy` and safetensors files that need not fit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from concept_ppl.errors import InputError

from .moments import Rows

ROWS_AT_ONCE = 4_096

Matrix = npt.ArrayLike | Path
Slice = Callable[[int, int], npt.NDArray[np.floating]]


def stored_rows(
    F: Matrix,
    Z: Matrix,
    *,
    weights: npt.ArrayLike | None = None,
    tensor: str = "",
    rows: int = ROWS_AT_ONCE,
) -> Callable[[], Iterator[Rows]]:
    """Return what `stream_linear_map` asks for its chunks.

    A file is mapped afresh for every chunk and then let go, so that pages already read do not pile
    up in memory.

    Parameters
    ----------
    F, Z
        (n, d) states and (n, q) contrasts: arrays, or paths of `.npy` or `.safetensors` files.
    weights
        (n,) positive; 1 by default.
    tensor
        Which tensor of a safetensors file, for instance the site of states.
    rows
        How many at once.

    Raises
    ------
    InputError
        If a file cannot be read, is not a matrix, or lengths differ.
    """
    if rows < 1:
        raise InputError(f"rows is {rows}; a chunk has at least one.")
    n, states = _open(F, "F", tensor)
    n_contrasts, contrasts = _open(Z, "Z", tensor)
    mass = None if weights is None else np.asarray(weights, dtype=np.float64)
    for name, length in (("Z", n_contrasts), ("weights", n if mass is None else len(mass))):
        if length != n:
            raise InputError(f"{name} has {length} rows, F has {n}.")

    def chunks() -> Iterator[Rows]:
        for start in range(0, n, rows):
            stop = min(start + rows, n)
            part = None if mass is None else mass[start:stop]
            yield Rows(states(start, stop), contrasts(start, stop), part)

    return chunks


def _open(source: Matrix, name: str, tensor: str) -> tuple[int, Slice]:
    """Return the number of rows of a matrix, and what reads some of them."""
    if not isinstance(source, Path):
        array = np.asarray(source)
        return _length(array.shape, name), lambda start, stop: array[start:stop]
    if source.suffix not in {".npy", ".safetensors"}:
        raise InputError(f"{name}: {source} is neither a .npy nor a .safetensors file.")
    read = _npy if source.suffix == ".npy" else _safetensors
    try:
        return _length(read(source, tensor, 0, 0)[0], name), lambda start, stop: read(
            source, tensor, start, stop
        )[1]
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{name}: {source} cannot be read: {error}.") from error


def _length(shape: tuple[int, ...], name: str) -> int:
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; it must be (contexts, columns).")
    return shape[0]


def _npy(
    path: Path, _: str, start: int, stop: int
) -> tuple[tuple[int, ...], npt.NDArray[np.floating]]:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped.shape, np.array(mapped[start:stop], dtype=np.float64)


def _safetensors(
    path: Path, tensor: str, start: int, stop: int
) -> tuple[tuple[int, ...], npt.NDArray[np.floating]]:
    with safe_open(path, framework="numpy") as file:
        part = file.get_slice(tensor)
        return tuple(part.get_shape()), np.asarray(part[start:stop], dtype=np.float64)
