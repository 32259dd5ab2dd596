"""The states of many contexts at named sites, in memory or mapped, site by site, from a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_ppl.errors import InputError, listed
from concept_ppl.outputs import new_folder

from .manifest import CONTEXTS, MANIFEST, SINK_FACTOR, complete
from .shards import (
    StateType,
    check_state_type,
    create_shard,
    map_shard,
    narrowed,
    outlying_rows,
    row_blocks,
    shard_name,
)

KNOWN_BY = (MANIFEST, CONTEXTS)
"""Files of every folder of states."""


@dataclass(frozen=True, eq=False)
class States:
    """States of ``n_contexts`` contexts; ``states["resid.12"]`` is one site's matrix.

    Attributes
    ----------
    sites
        The sites, in the order in which they were asked for.
    width
        Length of a state.
    n_tokens
        The context's own tokens, without the prefix, or how many of them were read at marks;
        ``(n_contexts,)``.
    provenance
        What made the states: model, digest, kind of weights, dtype, prefix, positions, token ids
        (their digest), versions.
    arrays
        Site → ``(n_rows, width)`` float32, in the order of the contexts: one row a context, or one
        for each of its own tokens where ``positions="all"`` were read, or for each mark.
    """

    sites: tuple[str, ...]
    width: int
    n_tokens: NDArray[np.int64] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    arrays: Mapping[str, NDArray[np.float32]] = field(repr=False)

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.n_tokens)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each context's rows begin, and where the last one's end; ``(n_contexts + 1,)``."""
        return offsets_of(self.n_tokens, self.provenance.get("positions", "last"))

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.offsets[-1])

    def __getitem__(self, site: str) -> NDArray[np.float32]:
        """Return the states at ``site``, ``(n_rows, width)`` float32, all finite.

        States of a folder are mapped, not read, if they are stored as float32. They are looked
        through once for values that are not finite.

        Raises
        ------
        InputError
            If the site is not among ``sites``, or a stored state is NaN or infinite.
        """
        if site not in self.sites:
            raise InputError(f"No states at site {site!r}; there are {listed(self.sites)}.")
        return self.arrays[site]

    def sinks(self, site: str, factor: float = SINK_FACTOR) -> NDArray[np.int64]:
        """Return the rows whose norm exceeds ``factor`` times the median norm at ``site``.

        Such a row is most likely an attention sink and would dominate any least-squares fit.
        """
        return outlying_rows(self[site], factor)

    def save(
        self, folder: str | Path, *, dtype: StateType = "float32", force: bool = False
    ) -> None:
        """Write a shard for each site and a manifest into ``folder``, whole or not at all.

        Parameters
        ----------
        folder
            The folder to make.
        dtype
            What the states are stored as: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        force
            Replace states that are already there.

        Raises
        ------
        InputError
            If the folder exists and ``force`` is false, holds something other than states, or
            cannot be written, or a state is too large for ``dtype``.
        """
        check_state_type(dtype)
        with new_folder(folder, force=force, known_by=KNOWN_BY) as temporary:
            for site in self.sites:
                path = temporary / shard_name(site)
                create_shard(path, site, (len(self), self.width), dtype)
                shard = map_shard(path, site, writable=True)
                start = 0
                for block in row_blocks(self[site]):
                    shard[start : start + len(block)] = narrowed(block, dtype)
                    start += len(block)
            complete(temporary, self.sites, self.width, dtype, self.n_tokens, self.provenance)


def offsets_of(n_tokens: NDArray[np.int64], positions: str) -> NDArray[np.int64]:
    """Return where each context's rows begin, and where the last one's end."""
    n_rows = n_tokens if positions in ("all", "marks") else np.ones_like(n_tokens)
    return np.concatenate([[0], np.cumsum(n_rows)]).astype(np.int64)
