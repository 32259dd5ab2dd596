"""The states of contexts at named sites, from right-padded batches, one forward pass for all sites.

Padding stands right of the last real token, where a causal model cannot see it; the mask and the
positions that are read come from each context's own length, so an id that pads and also means
something does no harm. Contexts are sorted by length and batched by tokens, which wastes little on
padding; identical contexts run once. With a folder to write to, states go to the disk batch by
batch: memory stays flat, and a run that was killed goes on where it stopped.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge.anatomy.language_model import LanguageModel
from concept_ppl.bridge.anatomy.sites import POOLED_SITES, resolve_sites
from concept_ppl.bridge.storage.shards import StateType, first_row_not_finite
from concept_ppl.bridge.storage.states import States, offsets_of
from concept_ppl.errors import InputError, LanguageModelError

from .batch_states import states_of_batch
from .positions import EACH, Positions, Reading, readings
from .readers import BatchStates, Readers, read_elsewhere
from .reading_plan import (
    Batch,
    ReadingPlan,
    default_batch_tokens,
    plan_readings,
    provenance_of,
)
from .streaming import stream_states

Progress = Callable[[int, int], None]
Announce = Callable[[str], None]


def extract(
    language_model: LanguageModel,
    texts: Sequence[str],
    *,
    sites: str | Sequence[str],
    positions: Positions = "last",
    words: Sequence[str] | None = None,
    marks: Sequence[Sequence[int]] | None = None,
    folder: str | Path | None = None,
    dtype: StateType = "float32",
    force: bool = False,
    batch_tokens: int | None = None,
    bos: bool = True,
    leading_space: bool = True,
    readers: Readers | None = None,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> States:
    """Read the states of each context at each site, in one forward pass for all sites.

    Parameters
    ----------
    language_model
        The model, from `load_language_model` or `wrap_language_model`.
    texts
        The contexts, ``n_contexts`` strings. An empty one has the state of the prefix alone.
    sites
        ``"all"``, a list with commas or a sequence of names; see `resolve_sites`. Blocks after the
        last site are not run.
    positions, words, marks
        Where in a context: ``"last"`` real token, ``"all"`` of the context's own tokens (a row for
        each), their ``"mean"``, the last token of a given ``"word"``, one of ``words`` for each
        context, or the tokens that hold the characters at ``"marks"``, ascending places in each
        text (a row for each); see `readings`. The bags of tokens hold the tokens up to that
        position.
    folder
        Write the states there as they come, and return them mapped from there. A run that was
        killed leaves ``.<name>.partial`` beside it; the same call on the same model and texts goes
        on from there, and ends with the same bytes.
    dtype
        What is written: ``"float32"``, ``"bfloat16"`` or ``"float16"``. In memory states are
        float32.
    force
        Replace states that lie in ``folder`` already.
    batch_tokens
        Most tokens in a batch, padding included; a longer context runs alone. By default as many
        as were fastest: 512 on a CPU, whose caches hold no more, 16,384 elsewhere, and fewer where
        the states of a batch would not fit in a quarter of a gigabyte.
    bos
        Put the model's neutral first token (its BOS token where it has one) before each context, so
        that the attention sink at position 0 is never the state that is read, unless a context is
        empty.
    leading_space
        Put a space before the first word, as within running text, where the tokenizer tells the two
        apart. A tokenizer that always puts one itself does so whatever is asked.
    readers
        Who runs the batches, each with the language model of its own and one thread; by default
        ``language_model`` itself.
    progress
        Called as ``progress(done, total)`` after each batch, in distinct contexts.
    announce
        Called before the first forward pass with a sentence that says how many bytes will be
        written to ``folder``, and at the end with one on attention sinks, if there are any.

    Returns
    -------
    States
        float32 matrices ``(n_rows, width)``, in the order of ``texts``: a row a context, or a row
        for each of its own tokens with ``positions="all"``.

    Raises
    ------
    InputError
        If a site is unknown, a row is no text, is too long for the model, lacks its word, has no
        token at all or one without an embedding; if the folder cannot be written or the disk lacks
        the room.
    LanguageModelError
        If a state is NaN or infinite; the message names site and row.
    UnfinishedError
        If ``readers`` failed at some contexts; the others are kept.
    """
    sites = _sites(language_model, sites, positions)
    prefix = language_model.prefix if bos else None
    found = readings(
        language_model.tokenizer,
        texts,
        positions=positions,
        words=words,
        marks=marks,
        prefix=prefix,
        leading_space=leading_space,
    )
    _check_contexts(language_model, found)
    if batch_tokens is not None and batch_tokens < 1:
        raise InputError(f"batch_tokens = {batch_tokens}, but a batch needs at least 1 token.")
    device = language_model.device.type if readers is None else readers.device.split(":")[0]
    if batch_tokens is None:
        batch_tokens = default_batch_tokens(language_model.width, device, len(sites), positions)
    plan = plan_readings(found, positions, batch_tokens)
    provenance = provenance_of(
        language_model, found, positions, prefix, leading_space, batch_tokens
    )
    if readers is not None:
        provenance["device"] = readers.device
        ran = {name: readers.crew.environment.get(name) for name in provenance["versions"]}
        provenance["versions"] |= {name: version for name, version in ran.items() if version}
    counted = [len(one.positions) if positions == "marks" else one.n_own for one in found]
    n_tokens = np.array(counted, dtype=np.int64)
    offsets = offsets_of(n_tokens, positions)
    language_model.model.eval()

    def read(numbers: Sequence[int]) -> Iterator[tuple[int, BatchStates]]:
        for number, states in _read(language_model, readers, plan, sites, positions, numbers):
            _require_finite(language_model, states, plan.batch(number), offsets)
            yield number, states

    if folder is not None:
        return stream_states(
            plan,
            read,
            folder=folder,
            sites=sites,
            width=language_model.width,
            dtype=dtype,
            n_tokens=n_tokens,
            provenance=provenance,
            n_threads=None if readers is None else 1,
            force=force,
            progress=progress,
            announce=announce,
        )
    arrays = {
        site: np.empty((plan.n_rows, language_model.width), dtype=np.float32) for site in sites
    }
    done = 0
    for number, states in read(range(plan.n_batches)):
        batch = plan.batch(number)
        for site, values in states.items():
            arrays[site][batch.target] = values[batch.source]
        done += len(batch.readings)
        if progress is not None:
            progress(done, plan.n_distinct)
    return States(sites, language_model.width, n_tokens, provenance, arrays)


def _read(
    language_model: LanguageModel,
    readers: Readers | None,
    plan: ReadingPlan,
    sites: Sequence[str],
    positions: Positions,
    numbers: Sequence[int],
) -> Iterator[tuple[int, BatchStates]]:
    """Yield batches with their states, read by whoever reads."""
    if readers is not None:
        yield from read_elsewhere(readers, language_model, plan, sites, positions, numbers)
        return
    for number in numbers:
        yield number, states_of_batch(language_model, plan.batch(number), sites, positions)


def _sites(
    language_model: LanguageModel, asked: str | Sequence[str], positions: Positions
) -> tuple[str, ...]:
    """Resolve the sites; a bag of tokens belongs to a context, not to each of its tokens."""
    sites = resolve_sites(language_model, asked)
    if positions not in EACH:
        return sites
    pooled = [site for site in sites if site in POOLED_SITES]
    if pooled and asked != "all":
        raise InputError(
            f"{pooled[0]} is one state a context, and positions='{positions}' asks for one a "
            "token; leave that site out."
        )
    return tuple(site for site in sites if site not in POOLED_SITES)


def _check_contexts(language_model: LanguageModel, found: Sequence[Reading]) -> None:
    limit, n_embeddings = language_model.anatomy.max_tokens, language_model.n_embeddings
    for row, reading in enumerate(found):
        largest = max(reading.tokens)
        if largest >= n_embeddings:
            token = language_model.tokenizer.convert_ids_to_tokens(largest)
            raise InputError(
                f"Row {row} (counted from 0) has the token {token!r}, for which "
                f"{language_model.name} has no embedding; leave the row out."
            )
        if limit is not None and len(reading.tokens) > limit:
            raise InputError(
                f"Row {row} (counted from 0) has {len(reading.tokens)} tokens, and "
                f"{language_model.name} has positions for {limit}; shorten it."
            )


def _require_finite(
    language_model: LanguageModel,
    states: BatchStates,
    batch: Batch,
    offsets: NDArray[np.int64],
) -> None:
    for site, values in states.items():
        state = first_row_not_finite(values)
        if state is not None:
            row = batch.target[batch.source == state].min()
            context = np.searchsorted(offsets, row, side="right") - 1
            raise LanguageModelError(
                f"{language_model.name}: the state at site {site} is NaN or infinite at row "
                f"{context} (counted from 0); load the model with dtype=torch.float32, and check "
                "its weights if that does not help."
            )
