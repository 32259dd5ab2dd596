"""A causal language model with named sites, checked to be read at the places that the names say."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from .logit_map import LogitMap
from .parts import Anatomy

WeightsKind = Literal["trained", "random", "given"]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model whose states can be read at ``sites``.

    Attributes
    ----------
    name
        What the user called it.
    model, tokenizer
        The transformers objects; the model is in evaluation mode.
    digest
        SHA-256 (hexadecimal) of the weights and the config.
    weights_kind
        ``"trained"`` if loaded, ``"random"`` if initialised from the config under ``seed``,
        ``"given"`` if the caller passed the model.
    seed
        Seed of random weights, else ``None``.
    prefix
        Token id that stands before every context (the BOS token where there is one); ``None`` if
        the tokenizer has nothing that could serve.
    sites
        Every site, in the order in which the model computes them, controls last. Where blocks carry
        several residual streams, their sites are not among them.
    logit_map
        How unembedded states become the model's logits, as it was measured.
    """

    name: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    digest: str
    weights_kind: WeightsKind
    seed: int | None
    prefix: int | None
    anatomy: Anatomy = field(repr=False)
    sites: tuple[str, ...] = field(default=(), repr=False)
    logit_map: LogitMap = field(default=LogitMap(), repr=False)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.anatomy.blocks)

    @property
    def width(self) -> int:
        """Length of a state."""
        return self.anatomy.width

    @property
    def n_embeddings(self) -> int:
        """Number of token ids that the model has an embedding for."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        device = next(self.anatomy.token_embedding.parameters()).device
        # What accelerate keeps elsewhere is a stand-in; it moves the ids itself.
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the token embedding is stored in."""
        return next(self.anatomy.token_embedding.parameters()).dtype


def logits_from_final_norm(language_model: LanguageModel, states: Tensor | NDArray[Any]) -> Tensor:
    """Turn states at ``final_norm`` into the model's logits, scaling and soft-capping included.

    Mamba-2, say, has its final state in float32 and its unembedding in the type of its weights.

    Parameters
    ----------
    language_model
        The model.
    states
        ``(..., width)``, tensor or array; moved to the device and the type of the unembedding.

    Returns
    -------
    Tensor
        ``(..., n_vocabulary)``, nats up to one constant a row.
    """
    weight = next(language_model.anatomy.unembedding.parameters())
    rows = torch.as_tensor(states)
    if weight.device.type != "meta":  # accelerate moves what it keeps elsewhere itself
        rows = rows.to(weight.device)
    return language_model.logit_map(language_model.anatomy.unembedding(rows.to(weight.dtype)))
