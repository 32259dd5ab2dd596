"""Batches of states for training: the same for the same seed, whatever was trained before.

Each pass over the rows has an order of its own, drawn from the seed and its number, so that a
training that goes on at step 1,000 sees what it would have seen. Rows are read where they lie: a
memory map or a bridge's shards stay on the disk.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Rows(Protocol):
    """Anything that has a length and whose rows can be taken by their numbers."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.floating]: ...


def batch_at(states: Rows, step: int, size: int, seed: int) -> Tensor:
    """Return the batch (size, d) of a step, counted from 0, as float32.

    Parameters
    ----------
    states
        (n, d), of which ``size`` rows at most are read.
    step, size, seed
        Which batch, of how many rows; of the orders.
    """
    n = len(states)
    size = min(size, n)
    per_pass = n // size
    order = _order(n, seed, step // per_pass)
    rows = np.sort(order[step % per_pass * size :][:size])
    return torch.from_numpy(np.ascontiguousarray(np.asarray(states[rows], np.float32)))


_LAST: dict[tuple[int, int, int], NDArray[np.int64]] = {}


def _order(n: int, seed: int, number: int) -> NDArray[np.int64]:
    """Return the order of a pass; the last one asked for is kept."""
    key = (n, seed, number)
    if key not in _LAST:
        _LAST.clear()
        generator = np.random.default_rng(np.random.SeedSequence([seed, number]))
        _LAST[key] = generator.permutation(n)
    return _LAST[key]
