"""Do a model's sites hold what their names say? Asked of the model itself, on a few tokens.

Three forward passes: as it is, a padded row alone, and with other tokens at the end of each row.
What stands right of a token must leave its states as they were; the last state must be what the
logits are made of, by a linear map, a scale and at most a cap; padding must not be seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn

from concept_ppl.errors import LanguageModelError

from .forward_pass import watched
from .language_model import LanguageModel
from .logit_map import LogitMap, measured_logit_map, planted_behind
from .sites import EMBEDDING, FINAL_NORM, POOLED_SITES, sites_of

# Largest difference between logits computed twice, relative to the largest logit.
RELATIVE_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
RELATIVE_TOLERANCE_HALF = 5e-2
# Largest change of a state, relative to its own length, when a later token changes. What attention
# sees changes it by hundredths; experts that compute together with other tokens, by rounding.
CAUSAL_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
CAUSAL_TOLERANCE_HALF = 3e-2


@torch.inference_mode()
def check_sites(language_model: LanguageModel) -> tuple[tuple[str, ...], LogitMap]:
    """Find the sites that hold one state a token, and how the last of them becomes logits.

    Returns
    -------
    sites, logit_map
        Where blocks carry something other than one vector a token, such as several residual
        streams, their sites are left out.

    Raises
    ------
    LanguageModelError
        If the model is not causal, sees padding, cannot run, or its logits are made otherwise.
    """
    name, dtype = language_model.name, language_model.dtype
    token_ids = (torch.arange(10).reshape(2, 5) * 7919 + 1) % language_model.n_embeddings
    token_ids = token_ids.to(language_model.device)
    mask = torch.ones_like(token_ids)
    mask[1, 3:] = 0
    later = torch.zeros_like(mask)
    later[0, 3:] = later[1, 2:] = 1
    changed_ids = torch.where(
        later.bool(), (token_ids + 1) % language_model.n_embeddings, token_ids
    )
    with _failures_named(name):
        states, truth = _observed(language_model, token_ids, mask)
        alone = language_model.model(input_ids=token_ids[1:, :3], use_cache=False).logits
        last_map = language_model.anatomy.unembedding_maps[-1]
        with planted_behind(last_map) as planted:
            changed, planted_logits = _observed(language_model, changed_ids, mask)
    _check_last_state(language_model, states)
    _check_causal(language_model, states, changed, ~later.bool())
    rebuilt = _unembedded(language_model, states[FINAL_NORM])
    logit_map = measured_logit_map(planted[-1], planted_logits)
    tokens = mask.bool()
    if logit_map is None or not _agree(logit_map(rebuilt)[tokens], truth[tokens], dtype):
        raise LanguageModelError(
            f"{name}: the unembedding of the final_norm state is not the model's logits, not even "
            "up to a scale and a cap, so its representation cannot be named; this architecture is "
            "not supported."
        )
    if not _agree(truth[1:, :3], alone, dtype):
        raise LanguageModelError(
            f"{name}: what stands right of a token changes its logits, though the mask leaves it "
            "out, so padded contexts cannot be read; this architecture is not supported."
        )
    return _sites_of_one_vector(language_model, states), logit_map


@contextmanager
def _failures_named(name: str) -> Iterator[None]:
    """Turn whatever a model's own code raises into one sentence about the model."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        raise LanguageModelError(
            f"{name}: the model's own forward pass fails on a few tokens "
            f"({type(error).__name__}: {reason}); this architecture is not supported."
        ) from error


def _observed(
    language_model: LanguageModel, token_ids: Tensor, mask: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Run the whole model: what passes its sites, and its logits.

    A block that runs several times has no one state; heads that look further ahead may also use the
    unembedding, after the state of the next token.
    """
    passed: dict[str, list[Tensor]] = {}
    sites = sites_of(language_model.n_blocks)
    with watched(
        language_model.anatomy,
        sites,
        lambda site, hidden: passed.setdefault(site, []).append(hidden),
    ):
        output = language_model.model(input_ids=token_ids, attention_mask=mask, use_cache=False)
    states = {
        site: hidden[0] for site, hidden in passed.items() if len(hidden) == 1 or site == FINAL_NORM
    }
    return states, output.logits


def _check_last_state(language_model: LanguageModel, states: dict[str, Tensor]) -> None:
    name, width = language_model.name, language_model.width
    if FINAL_NORM not in states:
        raise LanguageModelError(
            f"{name}: the model runs without calling its unembedding, so what that makes of a "
            "state is not the model's logits; this architecture is not supported."
        )
    shape = tuple(states[FINAL_NORM].shape)
    if shape != (2, 5, width):
        raise LanguageModelError(
            f"{name}: site {FINAL_NORM} yields {shape} where (2, 5, {width}) was expected; "
            "this architecture is not supported."
        )


def _check_causal(
    language_model: LanguageModel,
    states: dict[str, Tensor],
    changed: dict[str, Tensor],
    earlier: Tensor,
) -> None:
    """Compare states before tokens that were changed; ``earlier`` is ``(n_rows, n_positions)``."""
    tolerance = CAUSAL_TOLERANCE.get(language_model.dtype, CAUSAL_TOLERANCE_HALF)
    for site, hidden in states.items():
        if hidden.shape[:2] != earlier.shape:
            continue
        rows = earlier.to(hidden.device)
        before, after = (one[rows].float().flatten(1) for one in (hidden, changed[site]))
        if bool(((after - before).norm(dim=1) > tolerance * before.norm(dim=1)).any()):
            raise LanguageModelError(
                f"{language_model.name}: another token changes the states of earlier ones at "
                f"{site}, so the model is not causal and has no state of a context."
            )


def _unembedded(language_model: LanguageModel, states: Tensor) -> Tensor:
    """Multiply by the unembedding's weights, of which rows are given out as vectors of tokens."""
    for linear in language_model.anatomy.unembedding_maps:
        with align_module_device(linear):
            weight = linear.get_parameter("weight")
            bias = getattr(linear, "bias", None)
            states = nn.functional.linear(states.to(weight.device, weight.dtype), weight, bias)
    return states


def _sites_of_one_vector(
    language_model: LanguageModel, states: dict[str, Tensor]
) -> tuple[str, ...]:
    """Name the sites whose states are ``(n_rows, n_positions, width)``; blocks all or none."""
    expected = (2, 5, language_model.width)
    fitting = {site for site, hidden in states.items() if tuple(hidden.shape) == expected}
    ids = torch.zeros((2, 5), dtype=torch.long, device=language_model.device)
    if tuple(language_model.anatomy.token_embedding(ids).shape) == expected:
        fitting.update(POOLED_SITES)
    every = sites_of(language_model.n_blocks)
    blocks = set(every) - {EMBEDDING, FINAL_NORM, *POOLED_SITES}
    if not blocks <= fitting:
        fitting -= blocks
    return tuple(site for site in every if site in fitting)


def _agree(logits: Tensor, reference: Tensor, dtype: torch.dtype) -> bool:
    tolerance = RELATIVE_TOLERANCE.get(dtype, RELATIVE_TOLERANCE_HALF)
    scale = reference.float().abs().max()
    difference = (logits.float() - reference.float().to(logits.device)).abs().max()
    return bool(torch.isfinite(scale) & (difference <= tolerance * scale.to(difference.device)))
