"""What stands beside the shards of a folder of states: token counts, and the manifest."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from concept_ppl.errors import InputError, listed

from .shards import (
    StateType,
    map_shard,
    outlying_rows,
    require_finite,
    shard_name,
    widened,
)

FORMAT = "concept-ppl states"
FORMAT_VERSION = 2
CONTEXTS = "contexts.safetensors"
MANIFEST = "manifest.json"
N_TOKENS = "n_tokens"
SINK_FACTOR = 10.0


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
        states = require_finite(widened(map_shard(path, site)), path, site)
        sinks[site] = len(outlying_rows(states, SINK_FACTOR))
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


def read_token_counts(folder: Path, n_contexts: int) -> NDArray[np.int64]:
    """Return how many tokens of its own each context has, ``(n_contexts,)``.

    Raises
    ------
    InputError
        If the file cannot be read, or counts another number of contexts.
    """
    path = folder / CONTEXTS
    try:
        n_tokens: NDArray[np.int64] = load_file(path)[N_TOKENS]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); extract the states anew.") from error
    if n_tokens.shape != (n_contexts,):
        raise InputError(f"{path} counts the tokens of {len(n_tokens)} contexts, not {n_contexts}.")
    return n_tokens


def read_manifest(folder: Path) -> dict[str, Any]:
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
        raise InputError(f"{path} lacks a valid {listed(wrong)}; extract the states anew.")
    return manifest
