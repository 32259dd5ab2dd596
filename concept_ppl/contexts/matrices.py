"""States of somebody else's making: a matrix in one of the formats in which people keep them."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from concept_ppl.errors import InputError

FORMATS = ".npy, .npz, .safetensors or .parquet"


def read_matrix(path: str | Path) -> NDArray[np.float32]:
    """Read a matrix (n, d), a row a state.

    Parameters
    ----------
    path
        ``.npy``; ``.npz`` or ``.safetensors`` with one array; ``.parquet`` of numbers.

    Raises
    ------
    InputError
        If the file is not there, holds no single matrix of real numbers, or one is not finite.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} does not exist.")
    try:
        array = _array(file)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} cannot be read as a matrix: {error}") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{file} holds an array of shape {array.shape} and type {array.dtype}; give a matrix "
            f"of real numbers, a row a state."
        )
    matrix = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        raise InputError(f"{file} is not finite at row {bad[0][0]}, column {bad[0][1]}.")
    return np.asarray(matrix)


def _array(file: Path) -> NDArray[np.generic]:
    if file.suffix == ".npy":
        return np.asarray(np.load(file, allow_pickle=False))
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            return _only(dict(arrays), file)
    if file.suffix == ".safetensors":
        return _only(load_file(file), file)
    if file.suffix == ".parquet":
        return pd.read_parquet(file).to_numpy()
    raise InputError(f"{file} has no known format; give {FORMATS}.")


def _only(arrays: dict[str, NDArray[np.generic]], file: Path) -> NDArray[np.generic]:
    if len(arrays) != 1:
        raise InputError(f"{file} holds {len(arrays)} arrays ({', '.join(arrays)}); give one.")
    return next(iter(arrays.values()))
