"""A folder of states, opened: every site's shard is mapped when it is asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concept_ppl.errors import InputError

from .manifest import MANIFEST, read_manifest, read_token_counts
from .shards import map_shard, require_finite, shard_name, widened
from .states import States


def load_states(folder: str | Path) -> States:
    """Open a folder of states; a site is mapped when it is asked for, and read where it is used.

    Raises
    ------
    InputError
        If the folder is missing, is no folder of states, or its parts contradict each other. A NaN
        or infinite state raises when its site is asked for.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    sites, width = tuple(manifest["sites"]), manifest["width"]
    n_tokens = read_token_counts(folder, manifest["n_contexts"])
    states = States(sites, width, n_tokens, manifest["provenance"], _StoredArrays(folder, sites))
    shape = (len(states), width)
    for site in sites:
        found = map_shard(folder / shard_name(site), site).shape
        if found != shape:
            raise InputError(
                f"{folder / shard_name(site)} holds {found} at site {site} where {MANIFEST} says "
                f"{shape}; extract the states anew."
            )
    return states


@dataclass(frozen=True)
class _StoredArrays(Mapping[str, NDArray[np.float32]]):
    """The shards of a folder, each mapped when asked for, and looked through the first time."""

    folder: Path
    sites: tuple[str, ...]
    found_finite: set[str] = field(default_factory=set)

    def __getitem__(self, site: str) -> NDArray[np.float32]:
        path = self.folder / shard_name(site)
        states = widened(map_shard(path, site))
        if site not in self.found_finite:
            require_finite(states, path, site)
            self.found_finite.add(site)
        return states

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)
