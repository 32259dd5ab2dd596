"""The state of each context at its last real token, from right-padded batches in one forward pass.

Padding stands right of the last real token, where a causal model cannot see it; the mask and the
position that is read come from each context's own length, so an id that pads and also means
something does no harm. Contexts are sorted by length and batched by tokens, which wastes little on
padding; identical contexts run once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import InputError, LanguageModelError

from .forward_pass import pad_right, read_states
from .language_model import LanguageModel
from .sites import EMBEDDING_MEAN, EMBEDDING_SUM, POOLED_SITES, resolve_sites
from .states import States, first_row_not_finite
from .tokenization import tokenize

Context = tuple[int, ...]
Progress = Callable[[int, int], None]

BATCH_TOKENS_CPU = 512
BATCH_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class _DistinctContexts:
    """Contexts without repetition: ``contexts[row_to_distinct[r]]`` is row ``r``."""

    contexts: tuple[Context, ...]
    row_to_distinct: NDArray[np.int64]

    def first_row(self, distinct: int) -> int:
        """Return the first row that is this context."""
        return int(np.argmax(self.row_to_distinct == distinct))


def extract(
    language_model: LanguageModel,
    texts: Sequence[str],
    *,
    sites: str | Sequence[str],
    batch_tokens: int | None = None,
    bos: bool = True,
    leading_space: bool = True,
    progress: Progress | None = None,
) -> States:
    """Read the state of each context at its last real token, at each site.

    Parameters
    ----------
    language_model
        The model, from `load_language_model` or `wrap_language_model`.
    texts
        The contexts, ``n_contexts`` strings. An empty one has the state of the prefix alone.
    sites
        ``"all"``, a list with commas or a sequence of names; see `resolve_sites`. Blocks after the
        last site are not run.
    batch_tokens
        Most tokens in a batch, padding included; a longer context runs alone. By default as many
        as were fastest: 512 on a CPU, whose caches hold no more, 16,384 elsewhere.
    bos
        Put the model's neutral first token (its BOS token where it has one) before each context, so
        that the attention sink at position 0 is never the state that is read, unless a context is
        empty.
    leading_space
        Put a space before the first word, as within running text, where the tokenizer tells the two
        apart. A tokenizer that always puts one itself does so whatever is asked.
    progress
        Called as ``progress(done, total)`` after each batch, in distinct contexts.

    Returns
    -------
    States
        float32 matrices ``(n_contexts, width)``, in the order of ``texts``.

    Raises
    ------
    InputError
        If a site is unknown, a row is no text, is too long for the model, has no token at all or
        one without an embedding.
    LanguageModelError
        If a state is NaN or infinite; the message names site and row.
    """
    sites = resolve_sites(language_model, sites)
    if batch_tokens is None:
        batch_tokens = BATCH_TOKENS_CPU if language_model.device.type == "cpu" else BATCH_TOKENS
    if batch_tokens < 1:
        raise InputError(f"batch_tokens = {batch_tokens}, but a batch needs at least 1 token.")
    prefix = language_model.prefix if bos else None
    tokenizer = language_model.tokenizer
    rows = tokenize(tokenizer, texts, prefix=prefix, leading_space=leading_space)
    _check_contexts(language_model, rows)
    distinct = _without_repetition(rows)
    n_distinct = len(distinct.contexts)
    states = {
        site: np.empty((n_distinct, language_model.width), dtype=np.float32) for site in sites
    }
    language_model.model.eval()
    done = 0
    for batch in _batches(distinct.contexts, batch_tokens):
        contexts = [distinct.contexts[index] for index in batch]
        for site, values in _states_of_batch(language_model, contexts, sites, prefix).items():
            states[site][batch] = values
            row = first_row_not_finite(values)
            if row is not None:
                raise LanguageModelError(
                    f"{language_model.name}: the state at site {site} is NaN or infinite at row "
                    f"{distinct.first_row(batch[row])} (counted from 0); load the model with "
                    "dtype=torch.float32, and check its weights if that does not help."
                )
        done += len(batch)
        if progress is not None:
            progress(done, n_distinct)
    if n_distinct < len(rows):
        states = {site: values[distinct.row_to_distinct] for site, values in states.items()}
    return States(
        sites=sites,
        width=language_model.width,
        n_tokens=np.array([len(row) - _n_prefix(row, prefix) for row in rows], dtype=np.int64),
        provenance=_provenance(language_model, prefix, leading_space, batch_tokens),
        arrays=states,
    )


def _check_contexts(language_model: LanguageModel, rows: Sequence[Context]) -> None:
    limit, n_embeddings = language_model.anatomy.max_tokens, language_model.n_embeddings
    for row, context in enumerate(rows):
        if max(context) >= n_embeddings:
            token = language_model.tokenizer.convert_ids_to_tokens(max(context))
            raise InputError(
                f"Row {row} (counted from 0) has the token {token!r}, for which "
                f"{language_model.name} has no embedding; leave the row out."
            )
        if limit is not None and len(context) > limit:
            raise InputError(
                f"Row {row} (counted from 0) has {len(context)} tokens, and {language_model.name} "
                f"has positions for {limit}; shorten it."
            )


def _without_repetition(rows: Sequence[Context]) -> _DistinctContexts:
    index: dict[Context, int] = {}
    row_to_distinct = [index.setdefault(row, len(index)) for row in rows]
    return _DistinctContexts(tuple(index), np.array(row_to_distinct, dtype=np.int64))


def _batches(contexts: Sequence[Context], batch_tokens: int) -> Iterator[list[int]]:
    """Yield indices of contexts, longest first, so that too large a batch fails at once."""
    batch: list[int] = []
    longest = 0
    for index in sorted(range(len(contexts)), key=lambda index: -len(contexts[index])):
        if batch and (len(batch) + 1) * longest > batch_tokens:
            yield batch
            batch = []
        longest = len(contexts[index]) if not batch else longest
        batch.append(index)
    if batch:
        yield batch


@torch.inference_mode()
def _states_of_batch(
    language_model: LanguageModel,
    contexts: Sequence[Context],
    sites: Sequence[str],
    prefix: int | None,
) -> dict[str, NDArray[np.float32]]:
    """Return site → ``(n_rows, width)``, the states of one batch."""
    token_ids, mask = pad_right(contexts, language_model.device)
    last = mask.sum(dim=1) - 1

    def at_last_token(hidden: Tensor) -> Tensor:
        rows = torch.arange(len(hidden), device=hidden.device)
        return hidden[rows, last.to(hidden.device)].float().cpu()

    states: dict[str, Tensor] = {}
    hidden_sites = [site for site in sites if site not in POOLED_SITES]
    if hidden_sites:
        states |= read_states(language_model.anatomy, token_ids, mask, hidden_sites, at_last_token)
    if len(hidden_sites) < len(sites):
        own = mask.bool() & ~_special(language_model, token_ids)
        for row, context in enumerate(contexts):
            own[row, : _n_prefix(context, prefix)] = False
        states |= _bag_of_tokens(language_model, token_ids, own, sites)
    return {site: states[site].numpy() for site in sites}


def _bag_of_tokens(
    language_model: LanguageModel, token_ids: Tensor, own: Tensor, sites: Sequence[str]
) -> dict[str, Tensor]:
    """Sum and average the token embeddings where ``own`` is true; of no tokens both are zero."""
    embeddings = language_model.anatomy.token_embedding(token_ids).float()
    total = torch.where(own[..., None].to(embeddings.device), embeddings, 0.0).sum(dim=1).cpu()
    count = own.sum(dim=1, keepdim=True).clamp(min=1).cpu()
    pooled = {EMBEDDING_SUM: total, EMBEDDING_MEAN: total / count}
    return {site: values for site, values in pooled.items() if site in sites}


def _special(language_model: LanguageModel, token_ids: Tensor) -> Tensor:
    """Mark special tokens, except the one for unknown words, which does stand for a word."""
    tokenizer = language_model.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return torch.isin(token_ids, torch.tensor(sorted(special), device=token_ids.device))


def _n_prefix(context: Context, prefix: int | None) -> int:
    return int(prefix is not None and context[:1] == (prefix,))


def _provenance(
    language_model: LanguageModel, prefix: int | None, leading_space: bool, batch_tokens: int
) -> dict[str, Any]:
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
        "batch_tokens": batch_tokens,
        "versions": {
            package: version(package)
            for package in ("concept-ppl", "torch", "transformers", "tokenizers", "numpy")
        },
    }
