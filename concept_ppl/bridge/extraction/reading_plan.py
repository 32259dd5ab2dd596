"""In what batches are contexts read, and to which rows of the answer does each state go?"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge.anatomy.language_model import LanguageModel

from .positions import EACH, Positions, Reading

BATCH_TOKENS_CPU = 512
BATCH_TOKENS = 16_384
BATCH_BYTES = 2**28
"""Most bytes of the states of one batch, all sites together, at the default batch size."""


@dataclass(frozen=True)
class Batch:
    """Distinct contexts that run together.

    Attributes
    ----------
    readings
        The contexts, longest first.
    rows, places
        Of each position that is read, the row of the batch and the place in it; ``(n_positions,)``.
    source, target
        The batch's state ``source[i]`` is row ``target[i]`` of the answer; several rows may have
        the same state.
    """

    readings: tuple[Reading, ...]
    rows: NDArray[np.int64] = field(repr=False)
    places: NDArray[np.int64] = field(repr=False)
    source: NDArray[np.int64] = field(repr=False)
    target: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True)
class ReadingPlan:
    """What is read, in what order.

    Attributes
    ----------
    distinct
        The distinct contexts.
    members
        For each of them the first rows of the contexts that are like it.
    groups
        The batches: numbers of distinct contexts.
    n_rows
        Rows of the answer.
    averaged
        Whether the states of a context's positions make one row, their mean.
    """

    distinct: tuple[Reading, ...] = field(repr=False)
    members: tuple[tuple[int, ...], ...] = field(repr=False)
    groups: tuple[tuple[int, ...], ...] = field(repr=False)
    n_rows: int
    averaged: bool

    @property
    def n_distinct(self) -> int:
        """How many contexts run."""
        return len(self.distinct)

    @property
    def n_batches(self) -> int:
        """How many batches there are, longest contexts first: too large a one fails at once."""
        return len(self.groups)

    def batch(self, number: int) -> Batch:
        """Return one of the batches, counted from 0."""
        group = self.groups[number]
        readings = tuple(self.distinct[index] for index in group)
        lengths = [len(reading.positions) for reading in readings]
        places = [place for reading in readings for place in reading.positions]
        source: list[int] = []
        target: list[int] = []
        state = 0
        for index, length in zip(group, lengths, strict=True):
            n_states = 1 if self.averaged else length
            for first_row in self.members[index]:
                source.extend(range(state, state + n_states))
                target.extend(range(first_row, first_row + n_states))
            state += n_states
        return Batch(
            readings,
            rows=np.repeat(np.arange(len(group)), lengths),
            places=np.array(places, dtype=np.int64),
            source=np.array(source, dtype=np.int64),
            target=np.array(target, dtype=np.int64),
        )


def plan_readings(found: Sequence[Reading], positions: Positions, batch_tokens: int) -> ReadingPlan:
    """Merge identical contexts, sort by length, and batch by tokens.

    Parameters
    ----------
    found
        One reading a context, in the order of the answer.
    positions
        Which positions they hold.
    batch_tokens
        Most tokens in a batch, padding included; a longer context runs alone.
    """
    members: dict[Reading, list[int]] = {}
    n_rows = 0
    for reading in found:
        members.setdefault(reading, []).append(n_rows)
        n_rows += len(reading.positions) if positions in EACH else 1
    distinct = tuple(members)
    return ReadingPlan(
        distinct,
        tuple(map(tuple, members.values())),
        tuple(_groups(distinct, batch_tokens)),
        n_rows,
        averaged=positions == "mean",
    )


def _groups(distinct: Sequence[Reading], batch_tokens: int) -> Iterator[tuple[int, ...]]:
    batch: list[int] = []
    longest = 0
    for index in sorted(range(len(distinct)), key=lambda index: -len(distinct[index].tokens)):
        if batch and (len(batch) + 1) * longest > batch_tokens:
            yield tuple(batch)
            batch = []
        longest = len(distinct[index].tokens) if not batch else longest
        batch.append(index)
    if batch:
        yield tuple(batch)


def default_batch_tokens(width: int, device: str, n_sites: int, positions: Positions) -> int:
    """Return how many tokens a batch has by default, of states of a width on a kind of device.

    As many as were fastest: a CPU's caches hold no more than 512. Where every token's state is
    read, no more than fit in ``BATCH_BYTES``.
    """
    fastest = BATCH_TOKENS_CPU if device == "cpu" else BATCH_TOKENS
    if positions not in EACH:
        return fastest
    return max(1, min(fastest, BATCH_BYTES // (4 * width * n_sites)))


def provenance_of(
    language_model: LanguageModel,
    found: Sequence[Reading],
    positions: Positions,
    prefix: int | None,
    leading_space: bool,
    batch_tokens: int,
) -> dict[str, Any]:
    """Return what a manifest says of how states came about."""
    token = None
    if prefix is not None:
        token = str(language_model.tokenizer.convert_ids_to_tokens(prefix))
    return {
        "model": language_model.name,
        "digest": language_model.digest,
        "weights_kind": language_model.weights_kind,
        "seed": language_model.seed,
        "dtype": str(language_model.dtype).removeprefix("torch."),
        "device": str(language_model.device),
        "bos": prefix is not None,
        "prefix": token,
        "leading_space": leading_space,
        "positions": positions,
        "token_ids": _digest_of(found),
        "batch_tokens": batch_tokens,
        "versions": {
            package: version(package)
            for package in ("concept-ppl", "torch", "transformers", "tokenizers", "numpy")
        },
    }


def _digest_of(found: Sequence[Reading]) -> str:
    """Return the SHA-256 of all token ids and of the positions that are read, in order."""
    digest = hashlib.sha256()
    for reading in found:
        numbers = (len(reading.tokens), *reading.tokens, len(reading.positions), *reading.positions)
        digest.update(np.array(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()
