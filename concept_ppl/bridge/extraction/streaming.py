"""States go to the disk batch by batch, so that a run that was killed goes on where it stopped.

A partial folder holds the shards at their full size, what the run is (``request.json``) and a
journal: a line for each batch whose rows are written, with their CRC-32. A run that finds a partial
folder of its own kind reads those rows back; where the checksum is theirs the batch is not run
again, so it does not matter at which moment the run before was killed, nor what of its writing
reached the disk. Batches are the same in every run, so the result is the same to the last bit.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from concept_ppl.bridge.storage.folders import load_states
from concept_ppl.bridge.storage.manifest import SINK_FACTOR, complete
from concept_ppl.bridge.storage.shards import (
    StateType,
    check_state_type,
    create_shard,
    map_shard,
    narrowed,
    shard_name,
    shard_size,
)
from concept_ppl.bridge.storage.states import KNOWN_BY, States
from concept_ppl.errors import LanguageModelError
from concept_ppl.outputs import in_bytes, require_room, resumable_folder

from .readers import ReadBatches
from .reading_plan import Batch, ReadingPlan

REQUEST = "request.json"
JOURNAL = "journal"
ROOMIER = "ask for fewer sites, store bfloat16, or name a folder on another disk"


def stream_states(
    plan: ReadingPlan,
    read: ReadBatches,
    *,
    folder: str | Path,
    sites: Sequence[str],
    width: int,
    dtype: StateType,
    n_tokens: NDArray[np.int64],
    provenance: Mapping[str, Any],
    n_threads: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> States:
    """Read every batch of a plan into a folder, or those that a run before did not; open it.

    Parameters
    ----------
    plan
        What is to be read.
    read
        Runs batches of these numbers, and yields each with site → its states, in any order.
    folder, force
        Where the states go, and whether they may replace others.
    sites, width, dtype
        Which states, of what length, stored as what.
    n_tokens, provenance
        What stands beside them; see `States`.
    n_threads
        With how many threads batches run; those of this process by default.
    progress, announce
        As `extract` takes them.

    Raises
    ------
    InputError
        If the folder cannot be written or the disk lacks the room.
    LanguageModelError
        If a state is too large for ``dtype``.
    """
    check_state_type(dtype)
    shape = (plan.n_rows, width)
    request = {
        "sites": list(sites),
        "shape": list(shape),
        "stored": dtype,
        "provenance": dict(provenance),
        "threads": n_threads or torch.get_num_threads(),  # another number rounds differently
    }
    with resumable_folder(folder, force=force, known_by=KNOWN_BY) as partial:
        resumed = _same_request(partial, request)
        needed = sum(shard_size(site, shape, dtype) for site in sites)
        if not resumed:
            require_room(folder, needed, ROOMIER)
        if announce is not None:
            announce(
                f"{folder}: {plan.n_rows:,} states of {width:,} {dtype} at {len(sites)} sites, "
                f"{in_bytes(needed)}" + (", going on where the last run stopped" if resumed else "")
            )
        if not resumed:
            for site in sites:
                create_shard(partial / shard_name(site), site, shape, dtype)
            (partial / REQUEST).write_text(json.dumps(request, sort_keys=True), encoding="utf-8")
        _run(plan, read, partial, sites, dtype, progress)
        sinks = complete(partial, sites, width, dtype, n_tokens, provenance)
        (partial / JOURNAL).unlink()
        (partial / REQUEST).unlink()
    if announce is not None and any(sinks.values()):
        site = max(sinks, key=lambda site: sinks[site])
        announce(
            f"{folder}: {sinks[site]:,} of {plan.n_rows:,} states at {site} have more than "
            f"{SINK_FACTOR:g} times the median norm: attention sinks, most likely; the manifest "
            "counts them by site"
        )
    return load_states(folder)


def _run(
    plan: ReadingPlan,
    read: ReadBatches,
    partial: Path,
    sites: Sequence[str],
    dtype: StateType,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run each batch that is not in the journal, or whose rows are not what the journal says."""
    written = _journal(partial / JOURNAL)
    missing, done = [], 0
    for number, group in enumerate(plan.groups):
        known = written.get(number)
        if known is not None and known == _checksum(partial, sites, plan.batch(number)):
            done += len(group)
        else:
            missing.append(number)
    if done and progress is not None:
        progress(done, plan.n_distinct)
    with (partial / JOURNAL).open("a", encoding="ascii") as journal:
        for number, found in read(missing):
            batch = plan.batch(number)
            states = {site: narrowed(values, dtype) for site, values in found.items()}
            journal.write(f"{number} {_write(partial, sites, states, batch)}\n")
            journal.flush()
            done += len(batch.readings)
            if progress is not None:
                progress(done, plan.n_distinct)


def _write(
    partial: Path, sites: Sequence[str], states: Mapping[str, NDArray[Any]], batch: Batch
) -> int:
    """Put a batch's states into their rows; a map lives no longer, so that memory stays flat."""
    checksum = 0
    for site in sites:
        values = np.ascontiguousarray(states[site][batch.source])
        if values.dtype == np.float16 and not np.isfinite(values).all():
            raise LanguageModelError(
                f"A state at site {site} is too large for float16; store bfloat16 or float32."
            )
        checksum = zlib.crc32(values.tobytes(), checksum)
        shard = map_shard(partial / shard_name(site), site, writable=True)
        shard[batch.target] = values
    return checksum


def _checksum(partial: Path, sites: Sequence[str], batch: Batch) -> int:
    """Return the CRC-32 of a batch's rows as they lie on the disk."""
    checksum = 0
    for site in sites:
        rows = map_shard(partial / shard_name(site), site)[batch.target]
        checksum = zlib.crc32(np.ascontiguousarray(rows).tobytes(), checksum)
    return checksum


def _journal(path: Path) -> dict[int, int]:
    """Return batch → checksum, without a last line that was cut off."""
    if not path.is_file():
        return {}
    whole = path.read_bytes().rpartition(b"\n")[0].decode("ascii", errors="replace")
    written = {}
    for line in whole.splitlines():
        number, _, checksum = line.partition(" ")
        if number.isdigit() and checksum.isdigit():
            written[int(number)] = int(checksum)
    return written


def _same_request(partial: Path, request: Mapping[str, Any]) -> bool:
    """Say whether the partial folder is of this very run, and empty it if it is of another."""
    path = partial / REQUEST
    try:
        if json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(request)):
            return True
    except (OSError, ValueError):
        pass
    for member in partial.iterdir():
        member.unlink()
    return False
