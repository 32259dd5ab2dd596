"""The states of one batch: one forward pass, the positions that are read, the bags of tokens."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.bridge.anatomy.forward_pass import pad_right, read_states
from concept_ppl.bridge.anatomy.language_model import LanguageModel
from concept_ppl.bridge.anatomy.sites import EMBEDDING_MEAN, EMBEDDING_SUM, POOLED_SITES

from .positions import Positions
from .reading_plan import Batch


@torch.inference_mode()
def states_of_batch(
    language_model: LanguageModel, batch: Batch, sites: Sequence[str], positions: Positions
) -> dict[str, NDArray[np.float32]]:
    """Run the model once, and return site → ``(n_states, width)``, the states of one batch."""
    contexts = [reading.tokens for reading in batch.readings]
    token_ids, mask = pad_right(contexts, language_model.device)
    states: dict[str, Tensor] = {}
    hidden_sites = [site for site in sites if site not in POOLED_SITES]
    if hidden_sites:
        select = _mean_of(batch, mask) if positions == "mean" else _each_of(batch)
        states |= read_states(language_model.anatomy, token_ids, mask, hidden_sites, select)
    if len(hidden_sites) < len(sites):
        own = mask.bool() & ~_special(language_model, token_ids)
        for row, reading in enumerate(batch.readings):
            own[row, : reading.n_prefix] = False
            own[row, reading.positions[-1] + 1 :] = False
        states |= _bag_of_tokens(language_model, token_ids, own, sites)
    return {site: values.numpy() for site, values in states.items()}


def _each_of(batch: Batch) -> Callable[[Tensor], Tensor]:
    """Return what takes the states at the batch's positions out of ``(n_rows, longest, width)``."""
    rows, places = torch.from_numpy(batch.rows), torch.from_numpy(batch.places)

    def select(hidden: Tensor) -> Tensor:
        return hidden[rows.to(hidden.device), places.to(hidden.device)].float().cpu()

    return select


def _mean_of(batch: Batch, mask: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what averages the states over each context's positions."""
    chosen = torch.zeros_like(mask)
    chosen[torch.from_numpy(batch.rows), torch.from_numpy(batch.places)] = 1

    def select(hidden: Tensor) -> Tensor:
        at = chosen.to(hidden.device).bool()[..., None]
        total = torch.where(at, hidden, 0).sum(dim=1, dtype=torch.float32)
        return (total / at.sum(dim=1)).cpu()

    return select


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
