"""The states of many contexts at named sites, in memory or read site by site from a folder."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_folder

FORMAT = "concept-ppl states"
FORMAT_VERSION = 1
TENSORS = "states.safetensors"
MANIFEST = "manifest.json"
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
        What made the states: model, digest, kind of weights, dtype, prefix, versions.
    arrays
        Site → ``(n_contexts, width)`` float32, in the order of the contexts.
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

    def __len__(self) -> int:
        return self.n_contexts

    def __getitem__(self, site: str) -> NDArray[np.float32]:
        """Return the states at ``site``, ``(n_contexts, width)`` float32, all finite.

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
        norms = np.linalg.norm(self[site].astype(np.float64), axis=1)
        return np.flatnonzero(norms > factor * np.median(norms)) if len(norms) else np.arange(0)

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write ``states.safetensors`` and ``manifest.json`` into ``folder``, whole or not at all.

        Parameters
        ----------
        folder
            The folder to make.
        force
            Replace states that are already there.

        Raises
        ------
        InputError
            If the folder exists and ``force`` is false, holds something other than states, or
            cannot be written.
        """
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "sites": list(self.sites),
            "n_contexts": self.n_contexts,
            "width": self.width,
            "provenance": self.provenance,
        }
        with new_folder(folder, force=force, known_by=(TENSORS, MANIFEST)) as temporary:
            tensors = {site: np.ascontiguousarray(self[site]) for site in self.sites}
            save_file({**tensors, N_TOKENS: self.n_tokens}, temporary / TENSORS)
            text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
            (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
            # safetensors writes for the owner alone; results are readable as the umask says.
            shutil.copymode(temporary / MANIFEST, temporary / TENSORS)


def load_states(folder: str | Path) -> States:
    """Open a folder that `States.save` wrote; a site is read from the disk when it is asked for.

    Raises
    ------
    InputError
        If the folder is missing, was not written by `States.save`, or its parts contradict each
        other. A NaN or infinite state raises when its site is read.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    sites, shape = tuple(manifest["sites"]), (manifest["n_contexts"], manifest["width"])
    path = folder / TENSORS
    try:
        with safe_open(path, framework="numpy") as file:
            stored = set(file.keys())
            missing = [name for name in (*sites, N_TOKENS) if name not in stored]
            if missing:
                raise InputError(f"{path} has no {', '.join(missing)}; write the folder anew.")
            for site in sites:
                found = tuple(file.get_slice(site).get_shape())
                if found != shape:
                    raise InputError(
                        f"{path} holds {found} at site {site} where {MANIFEST} says {shape}; "
                        "write the folder anew."
                    )
            n_tokens = file.get_tensor(N_TOKENS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); write the folder anew.") from error
    if n_tokens.shape != shape[:1]:
        raise InputError(f"{path} counts the tokens of {len(n_tokens)} contexts, not {shape[0]}.")
    return States(sites, shape[1], n_tokens, manifest["provenance"], _StoredArrays(path, sites))


@dataclass(frozen=True)
class _StoredArrays(Mapping[str, NDArray[np.float32]]):
    """The sites of a safetensors file, each read (and checked) when asked for."""

    path: Path
    sites: tuple[str, ...]

    def __getitem__(self, site: str) -> NDArray[np.float32]:
        try:
            with safe_open(self.path, framework="numpy") as file:
                states: NDArray[np.float32] = file.get_tensor(site)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{self.path} cannot be read at site {site} ({error}).") from error
        row = first_row_not_finite(states)
        if row is not None:
            raise InputError(
                f"{self.path} holds NaN or infinity at site {site}, row {row} (counted from 0); "
                "extract the states anew."
            )
        return states

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


def first_row_not_finite(states: NDArray[np.float32]) -> int | None:
    """Return the first row of ``(n_rows, width)`` that holds NaN or infinity, if there is one."""
    finite = np.isfinite(states).all(axis=1)
    return None if finite.all() else int(np.argmin(finite))


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
    kinds = {"sites": list, "n_contexts": int, "width": int, "provenance": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        raise InputError(f"{path} lacks a valid {', '.join(wrong)}; extract the states anew.")
    return manifest
