"""Which weights of a language model learn, and whether they can."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from concept_ppl.bridge import LanguageModel
from concept_ppl.errors import InputError, LanguageModelError

WIDE_ENOUGH = (torch.float32, torch.float64)
"""In narrower types most steps of AdamW are smaller than the last digit of a weight."""


def make_trainable(
    language_model: LanguageModel, *, blocks: int | None, lora: int = 0, seed: int = 0
) -> dict[str, Tensor]:
    """Choose the weights that learn and freeze all others; return them by name.

    Parameters
    ----------
    language_model
        Its model is changed in place.
    blocks
        The last so many blocks, all if it has no more; ``None``: every weight of the model.
    lora
        Rank of LoRA maps (Hu et al. 2021, https://arxiv.org/abs/2106.09685) beside each linear map
        of these blocks, which learn in its place; they begin as no change. 0: none.
    seed
        Of the LoRA maps' weights.

    Raises
    ------
    InputError
        If ``lora`` is asked for and peft is not installed.
    LanguageModelError
        If a chosen weight cannot take gradients: it is quantised, too narrow, or elsewhere.
    """
    model, name = language_model.model, language_model.name
    chosen = model if blocks is None else nn.ModuleList(language_model.anatomy.blocks[-blocks:])
    own = {id(weight) for weight in chosen.parameters()}
    weights = {key: weight for key, weight in model.named_parameters() if id(weight) in own}
    _require_gradients(name, weights)
    for weight in model.parameters():
        weight.requires_grad_(False)
    if lora:
        return _with_lora(language_model, blocks, lora, seed)
    for weight in weights.values():
        weight.requires_grad_(True)
    return weights


def _require_gradients(name: str, weights: dict[str, Tensor]) -> None:
    if not weights:
        raise LanguageModelError(f"{name} has no weights that could learn; load it in float32.")
    for key, weight in weights.items():
        if weight.is_meta:
            raise LanguageModelError(
                f"{name}: weight {key} does not lie in memory, so it cannot learn; load the model "
                "on one device."
            )
        if weight.dtype not in WIDE_ENOUGH or weight.is_inference():
            kind = "made for inference alone" if weight.is_inference() else str(weight.dtype)
            raise LanguageModelError(
                f"{name}: weight {key} is {kind.removeprefix('torch.')} and takes no gradients "
                "that AdamW could use; load the model in float32."
            )


def _with_lora(
    language_model: LanguageModel, blocks: int | None, rank: int, seed: int
) -> dict[str, Tensor]:
    try:
        peft = import_module("peft")
    except ImportError as error:
        raise InputError("lora needs peft; pip install 'concept-ppl[adapt]'.") from error
    model = language_model.model
    names = _linear_maps(language_model, blocks)
    device = language_model.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        config = peft.LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=names, lora_dropout=0.0
        )
        peft.inject_adapter_in_model(config, model)
    model.to(device)
    model.eval()
    return {key: weight for key, weight in model.named_parameters() if weight.requires_grad}


def _linear_maps(language_model: LanguageModel, blocks: int | None) -> list[str]:
    """Return the full names of the linear maps in the chosen blocks."""
    n = language_model.n_blocks if blocks is None else blocks
    inside: set[int] = set()
    for block in language_model.anatomy.blocks[-n:]:
        inside |= {id(part) for part in block.modules() if isinstance(part, nn.Linear | Conv1D)}
    modules: Any = language_model.model.named_modules()
    names = [name for name, module in modules if id(module) in inside]
    if not names:
        raise LanguageModelError(
            f"{language_model.name} has no linear maps in its blocks that LoRA knows; leave lora "
            "out."
        )
    return names
