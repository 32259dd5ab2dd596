"""Which rows are one unit: those of equal contexts, told by the rows themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def cluster_by_row(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of each row's distinct row, counted as they first appear."""
    whole_row = np.dtype((np.void, rows.itemsize * rows.shape[1]))
    as_bytes = np.ascontiguousarray(rows).view(whole_row).reshape(-1)
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[inverse], np.int64)


def cluster_by_states(states: Mapping[str, NDArray[np.float32]]) -> NDArray[np.int64]:
    """Return the number of each row's distinct context, as told by its states at all sites.

    Equal contexts have equal states. At one site alone different contexts can agree, too: the
    embedding of a closing comma is the same for each of them.
    """
    by_site = np.column_stack([cluster_by_row(rows) for rows in states.values()])
    return cluster_by_row(by_site)
