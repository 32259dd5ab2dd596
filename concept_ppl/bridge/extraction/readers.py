"""Who reads the batches of a plan: the language model at hand, or several, one a worker.

Batches are the same whoever reads them, so that states are too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge.anatomy.language_model import LanguageModel
from concept_ppl.distributed import Crew, Failure, answers
from concept_ppl.errors import LanguageModelError, UnfinishedError

from .batch_states import states_of_batch
from .positions import Positions
from .reading_plan import Batch, ReadingPlan

BatchStates = Mapping[str, NDArray[np.float32]]
"""Site → states of one batch."""
ReadBatches = Callable[[Sequence[int]], Iterator[tuple[int, BatchStates]]]
"""Takes the numbers of batches; yields each with its states, in any order."""

BLOCK_BYTES = 2**25
"""Of the states that a worker sends back at once."""
MOST_BATCHES = 32
NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Readers:
    """Language models on other processes or machines.

    Attributes
    ----------
    crew
        Who reads; see :func:`concept_ppl.distributed.hired`.
    load
        Called by each worker: the same language model as the one that is asked about.
    device
        Where workers run it.
    """

    crew: Crew
    load: Callable[[], LanguageModel]
    device: str = "cpu"


@dataclass(frozen=True)
class Blocks(Sequence[tuple[Batch, ...]]):
    """Consecutive batches that a worker reads at once, made when they are asked for.

    Attributes
    ----------
    plan
        What is read.
    numbers
        Of the batches of each block.
    """

    plan: ReadingPlan
    numbers: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, block: int) -> tuple[Batch, ...]:  # type: ignore[override]
        """Return a block's batches, without the rows of the answer, which stay here."""
        batches = map(self.plan.batch, self.numbers[block])
        return tuple(replace(batch, source=NOTHING, target=NOTHING) for batch in batches)


def blocks_of(plan: ReadingPlan, numbers: Sequence[int], bytes_a_state: int) -> Blocks:
    """Put consecutive batches into blocks of :data:`BLOCK_BYTES` of states."""
    blocks: list[list[int]] = []
    size = BLOCK_BYTES
    for number in numbers:
        positions = sum(len(plan.distinct[index].positions) for index in plan.groups[number])
        own = positions * bytes_a_state
        if not blocks or size + own > BLOCK_BYTES or len(blocks[-1]) == MOST_BATCHES:
            blocks.append([])
            size = 0
        blocks[-1].append(number)
        size += own
    return Blocks(plan, tuple(map(tuple, blocks)))


def read_elsewhere(
    readers: Readers,
    language_model: LanguageModel,
    plan: ReadingPlan,
    sites: Sequence[str],
    positions: Positions,
    numbers: Sequence[int],
) -> Iterator[tuple[int, BatchStates]]:
    """Yield each batch with its states, as workers read them.

    Raises
    ------
    InputError
        If nobody can read, for instance because the weights are missing or other ones.
    UnfinishedError
        At the end, if a block failed each time it was tried; all others were yielded.
    """
    blocks = blocks_of(plan, numbers, 4 * language_model.width * len(sites))
    prepare = partial(_reader, readers.load, language_model.digest, tuple(sites), positions)
    failures: list[Failure] = []
    with closing(answers(readers.crew, prepare, blocks)) as made:
        for answer in made:
            if answer.failure is not None:
                failures.append(answer.failure)
            else:
                yield from zip(blocks.numbers[answer.index], answer.value, strict=True)
    if failures:
        raise UnfinishedError(
            f"{len(failures)} of {len(blocks)} blocks of contexts could not be read, each time "
            f"they were tried; the first: {failures[0].reason} What was read is kept; the same "
            "command goes on from there."
        )


def _reader(
    load: Callable[[], LanguageModel], digest: str, sites: tuple[str, ...], positions: Positions
) -> Callable[[tuple[Batch, ...]], list[BatchStates]]:
    """Load the language model once, and return what reads a block with it."""
    language_model = load()
    if language_model.digest != digest:
        raise LanguageModelError(
            f"{language_model.name} has other weights there (SHA-256 {language_model.digest[:12]}… "
            f"in place of {digest[:12]}…); put the same where every machine finds them."
        )
    language_model.model.eval()

    def read(block: tuple[Batch, ...]) -> list[BatchStates]:
        return [states_of_batch(language_model, batch, sites, positions) for batch in block]

    return read
