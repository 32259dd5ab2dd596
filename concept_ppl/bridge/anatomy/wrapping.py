"""A ready transformers model and its tokenizer become readable, once their sites are checked."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import torch

from concept_ppl.errors import LanguageModelError

from .language_model import LanguageModel, WeightsKind
from .parts import find_anatomy
from .site_checks import check_sites
from .tokenization import neutral_prefix


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
        If the parts of the model cannot be found, it cannot run or is not causal, its sites do not
        hold what their names say, or its tokenizer has more tokens than it has embeddings.
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
    sites, logit_map = check_sites(language_model)
    return replace(language_model, sites=sites, logit_map=logit_map)


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
