"""The states of many contexts at named sites, in memory or mapped, site by site, from a folder."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_folder

from .shards import (
    StateType,
    check_state_type,
    create_shard,
    first_row_not_finite,
    map_shard,
    narrowed,
    row_blocks,
    row_norms,
    shard_name,
    widened,
)

FORMAT = "concept-ppl states"
FORMAT_VERSION = 2
CONTEXTS = "contexts.safetensors"
MANIFEST = "manifest.json"
KNOWN_BY = (MANIFEST, CONTEXTS)
"""Files of every folder of states."""
N_TOKENS = "n_tokens"
SINK_FACTOR = 10.0


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
        The context's own tokens, without the prefix; ``(n_contexts,)``.
    provenance
        What made the states: model, digest, kind of weights, dtype, prefix, positions, token ids
        (their digest), versions.
    arrays
        Site → ``(n_rows, width)`` float32, in the order of the contexts: one row a context, or one
        for each of its own tokens where ``positions="all"`` were read.
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
            raise InputError(f"No states at site {site!r}; there are {', '.join(self.sites)}.")
        return self.arrays[site]

    def sinks(self, site: str, factor: float = SINK_FACTOR) -> NDArray[np.int64]:
        """Return the rows whose norm exceeds ``factor`` times the median norm at ``site``.

        Such a row is most likely an attention sink and would dominate any least-squares fit.
        """
        return _outlying(self[site], factor)

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
    n_rows = n_tokens if positions == "all" else np.ones_like(n_tokens)
    return np.concatenate([[0], np.cumsum(n_rows)]).astype(np.int64)


def complete(
    folder: Path,
    sites: Sequence[str],
    width: int,
    dtype: StateType,
    n_tokens: NDArray[np.int64],
    provenance: Mapping[str, Any],
) -> dict[str, int]:
    """Write what stands beside the shards: token counts, and the manifest with every digest.

    Returns
    -------
    dict
        Site → how many rows are most likely attention sinks.

    Raises
    ------
    InputError
        If a stored state is NaN or infinite.
    """
    save_file({N_TOKENS: n_tokens}, folder / CONTEXTS)
    shards, sinks = {}, {}
    for site in sites:
        path = folder / shard_name(site)
        states = _finite(widened(map_shard(path, site)), path, site)
        sinks[site] = len(_outlying(states, SINK_FACTOR))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        shards[site] = {"file": path.name, "sha256": digest}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sites": list(sites),
        "n_contexts": len(n_tokens),
        "width": width,
        "dtype": dtype,
        "shards": shards,
        "sinks": {"factor": SINK_FACTOR, "n_rows": sinks},
        "provenance": dict(provenance),
    }
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    # safetensors writes for the owner alone; results are readable as the umask says.
    shutil.copymode(folder / MANIFEST, folder / CONTEXTS)
    return sinks


def load_states(folder: str | Path) -> States:
    """Open a folder of states; a site is mapped when it is asked for, and read where it is used.

    Raises
    ------
    InputError
        If the folder is missing, is no folder of states, or its parts contradict each other. A NaN
        or infinite state raises when its site is asked for.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    sites, width = tuple(manifest["sites"]), manifest["width"]
    path = folder / CONTEXTS
    try:
        n_tokens: NDArray[np.int64] = load_file(path)[N_TOKENS]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); extract the states anew.") from error
    if n_tokens.shape != (manifest["n_contexts"],):
        raise InputError(
            f"{path} counts the tokens of {len(n_tokens)} contexts, not {manifest['n_contexts']}."
        )
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
            _finite(states, path, site)
            self.found_finite.add(site)
        return states

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


def _outlying(states: NDArray[np.float32], factor: float) -> NDArray[np.int64]:
    norms = row_norms(states)
    return np.flatnonzero(norms > factor * np.median(norms)) if len(norms) else np.arange(0)


def _finite(states: NDArray[np.float32], path: Path, site: str) -> NDArray[np.float32]:
    row = first_row_not_finite(states)
    if row is None:
        return states
    raise InputError(
        f"{path} holds NaN or infinity at site {site}, row {row} (counted from 0); extract the "
        "states anew."
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read and validate the manifest, or say in one sentence why this is no folder of states."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of states; `concept-ppl extract` makes one.")
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} has no {MANIFEST}, so it is not a folder of states; "
            "`concept-ppl extract` makes one."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(
            f"{path} does not describe states; `concept-ppl extract` writes such files."
        )
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {manifest.get('format_version')}, and this release reads "
            f"{FORMAT_VERSION}; extract the states anew."
        )
    kinds = {"sites": list, "shards": dict, "n_contexts": int, "width": int, "provenance": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        raise InputError(f"{path} lacks a valid {', '.join(wrong)}; extract the states anew.")
    return manifest
