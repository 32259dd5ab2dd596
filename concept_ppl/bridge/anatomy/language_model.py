"""A causal language model with named sites, checked to be read at the places that the names say."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from concept_ppl.errors import LanguageModelError

from .forward_pass import read_states
from .parts import Anatomy, find_anatomy
from .sites import FINAL_NORM, POOLED_SITES, sites_of
from .tokenization import neutral_prefix

WeightsKind = Literal["trained", "random", "given"]

# Largest difference between logits computed twice, relative to the largest logit.
RELATIVE_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
RELATIVE_TOLERANCE_HALF = 5e-2


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
    """

    name: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    digest: str
    weights_kind: WeightsKind
    seed: int | None
    prefix: int | None
    anatomy: Anatomy = field(repr=False)

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
    def sites(self) -> tuple[str, ...]:
        """Every site, in the order in which the model computes them, controls last."""
        return sites_of(self.n_blocks)

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


def wrap_language_model(
    model: Any,
    tokenizer: Any,
    *,
    name: str = "the given model",
    weights_kind: WeightsKind = "given",
    seed: int | None = None,
    digest: str | None = None,
) -> LanguageModel:
    """Make a ready transformers model and tokenizer readable, after checking its sites.

    Parameters
    ----------
    model
        A transformers causal language model. It is put into evaluation mode and stays there.
    tokenizer
        Its tokenizer.
    name
        What messages and manifests call it.
    weights_kind, seed
        Where the weights come from; see `LanguageModel`.
    digest
        SHA-256 of weights and config, where it is known; else computed from the weights in memory.

    Raises
    ------
    LanguageModelError
        If the parts of the model cannot be found, its sites do not hold what their names say, or
        its tokenizer has more tokens than it has embeddings.
    """
    anatomy = find_anatomy(model, name)
    model.eval()
    language_model = LanguageModel(
        name=name,
        model=model,
        tokenizer=tokenizer,
        digest=digest if digest is not None else digest_of_weights(model),
        weights_kind=weights_kind,
        seed=seed,
        prefix=neutral_prefix(tokenizer, model.config.get_text_config(decoder=True)),
        anatomy=anatomy,
    )
    _check_vocabulary(language_model)
    _check_sites(language_model)
    return language_model


def logits_from_final_norm(language_model: LanguageModel, states: Tensor) -> Tensor:
    """Turn states at ``final_norm`` into the model's logits, scaling and soft-capping included.

    Parameters
    ----------
    language_model
        The model.
    states
        ``(..., width)``, on the device and in the type of the unembedding.

    Returns
    -------
    Tensor
        ``(..., n_vocabulary)``, nats up to one constant a row.
    """
    config = language_model.model.config.get_text_config(decoder=True)
    logits: Tensor = language_model.anatomy.unembedding(states) * logit_factor(language_model)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def logit_factor(language_model: LanguageModel) -> float:
    """Return the constant by which a model multiplies its logits; 1 for most."""
    config = language_model.model.config.get_text_config(decoder=True)
    factor = 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    for name in ("logit_scale", "lm_head_multiplier"):
        factor *= getattr(config, name, None) or 1.0
    return factor


def digest_of_weights(model: Any) -> str:
    """Return the SHA-256 of a model's config and of every tensor of its state dict, by name."""
    config = model.config.to_dict()
    for origin in ("_name_or_path", "transformers_version"):
        config.pop(origin, None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().contiguous().reshape(-1).cpu()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_vocabulary(language_model: LanguageModel) -> None:
    """Refuse a foreign tokenizer; a token added later, for padding say, may have no embedding."""
    n_embeddings, n_tokens = language_model.n_embeddings, int(language_model.tokenizer.vocab_size)
    if n_tokens > n_embeddings:
        raise LanguageModelError(
            f"{language_model.name}: the tokenizer has {n_tokens} tokens but the model has only "
            f"{n_embeddings} embeddings; they do not belong together."
        )


@torch.inference_mode()
def _check_sites(language_model: LanguageModel) -> None:
    """Compare the sites with the model's logits, and a padded row with the same row alone."""
    anatomy, name = language_model.anatomy, language_model.name
    token_ids = (torch.arange(10).reshape(2, 5) * 7919 + 1) % language_model.n_embeddings
    token_ids = token_ids.to(language_model.device)
    mask = torch.ones_like(token_ids)
    mask[1, 3:] = 0
    sites = [site for site in language_model.sites if site not in POOLED_SITES]
    states = read_states(anatomy, token_ids, mask, sites, select=lambda hidden: hidden)
    for site in sites:
        shape = tuple(states[site].shape) if site in states else "nothing"
        if shape != (2, 5, anatomy.width):
            raise LanguageModelError(
                f"{name}: site {site} yields {shape} where (2, 5, {anatomy.width}) was expected; "
                "this architecture is not supported."
            )
    truth = language_model.model(input_ids=token_ids, attention_mask=mask, use_cache=False).logits
    rebuilt = logits_from_final_norm(language_model, states[FINAL_NORM])
    tokens = mask.bool()
    if not _agree(rebuilt[tokens], truth[tokens], language_model.dtype):
        raise LanguageModelError(
            f"{name}: the unembedding of the final_norm state is not the model's logits, so its "
            "representation cannot be named; this architecture is not supported."
        )
    alone = language_model.model(input_ids=token_ids[1:, :3], use_cache=False).logits
    if not _agree(truth[1:, :3], alone, language_model.dtype):
        raise LanguageModelError(
            f"{name}: what stands right of a token changes its logits, so the model is not causal "
            "and has no state of a context."
        )


def _agree(logits: Tensor, reference: Tensor, dtype: torch.dtype) -> bool:
    tolerance = RELATIVE_TOLERANCE.get(dtype, RELATIVE_TOLERANCE_HALF)
    scale = reference.float().abs().max()
    difference = (logits.float() - reference.float().to(logits.device)).abs().max()
    return bool(torch.isfinite(scale) & (difference <= tolerance * scale.to(difference.device)))
