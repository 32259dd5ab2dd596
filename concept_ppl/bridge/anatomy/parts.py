"""Where a causal language model of transformers keeps its embedding, blocks and unembedding."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from concept_ppl.errors import LanguageModelError


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of a causal language model that the sites are read from.

    Attributes
    ----------
    decoder
        Runs from token ids to the final state, and through the unembedding if it is the whole
        model; one that ends before it returns the final state as ``last_hidden_state``.
    token_embedding
        Maps token ids to vectors, before positions are added.
    blocks
        The blocks in the order in which the decoder runs them.
    unembedding
        Maps the final state to logits, up to scaling and soft-capping: one linear map, or an
        `torch.nn.Sequential` of several.
    width
        Length of a state.
    max_tokens
        Most tokens that the model has positions for; ``None`` if it has no such limit.
    """

    decoder: nn.Module
    token_embedding: nn.Module
    blocks: tuple[nn.Module, ...]
    unembedding: nn.Module
    width: int
    max_tokens: int | None

    @property
    def unembedding_maps(self) -> tuple[nn.Module, ...]:
        """The linear maps of the unembedding; the final state is what enters the first."""
        if isinstance(self.unembedding, nn.Sequential):
            return tuple(self.unembedding)
        return (self.unembedding,)


def find_anatomy(model: Any, name: str) -> Anatomy:
    """Find the parts of a transformers model, or refuse it by ``name``.

    Raises
    ------
    LanguageModelError
        If the model has no unembedding, or no single list of as many blocks as its config says.
    """
    unembedding = getattr(model, "get_output_embeddings", lambda: None)()
    if unembedding is None:
        raise LanguageModelError(
            f"{name} has no unembedding, so it is not a causal language model; "
            "load it with transformers.AutoModelForCausalLM."
        )
    config = model.config.get_text_config(decoder=True)
    decoder = model.get_decoder()
    if decoder is unembedding:  # ModernBERT calls its unembedding so
        decoder = model.base_model
    token_embedding = model.get_input_embeddings()
    # OPT-350m embeds and unembeds in fewer dimensions than its blocks have.
    if isinstance(getattr(decoder, "project_in", None), nn.Linear):
        token_embedding = nn.Sequential(token_embedding, decoder.project_in)
    if isinstance(getattr(decoder, "project_out", None), nn.Linear):
        unembedding = nn.Sequential(decoder.project_out, unembedding)
    return Anatomy(
        decoder=model,
        token_embedding=token_embedding,
        blocks=find_blocks(decoder, int(config.num_hidden_layers), name),
        unembedding=unembedding,
        width=int(config.hidden_size),
        max_tokens=getattr(config, "max_position_embeddings", None),
    )


def find_blocks(decoder: nn.Module, n_blocks: int, name: str) -> tuple[nn.Module, ...]:
    """Return the outermost list of ``n_blocks`` modules; lists of experts or heads lie deeper.

    Where several are as long and as deep, or none is as long, blocks are what transformers can
    checkpoint one by one. Beside its blocks a Gemma 3n keeps maps into its other residual streams;
    a BART's config counts its encoder's blocks, a LongCat's two for each of its own.
    """
    lists = {
        path: module
        for path, module in decoder.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0
    }
    found = _outermost({path: blocks for path, blocks in lists.items() if len(blocks) == n_blocks})
    if len(found) != 1:
        checkpointed = {path: blocks for path, blocks in lists.items() if _checkpointed(blocks)}
        found = _outermost(checkpointed) if not found else [*filter(_checkpointed, found)] or found
    if len(found) != 1:
        raise LanguageModelError(
            f"{name} ({type(decoder).__name__}) has {len(found)} candidates for its list of "
            f"{n_blocks} blocks, so its residual stream cannot be named; this architecture is not "
            "supported."
        )
    return tuple(found[0])


def _outermost(lists: dict[str, nn.ModuleList]) -> list[nn.ModuleList]:
    depth = min((path.count(".") for path in lists), default=0)
    return [module for path, module in lists.items() if path.count(".") == depth]


def _checkpointed(modules: nn.ModuleList) -> bool:
    return all(isinstance(module, GradientCheckpointingLayer) for module in modules)
