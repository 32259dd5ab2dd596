"""One forward pass over a padded batch: reads hidden states as they pass, stops after the last."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .parts import Anatomy
from .sites import EMBEDDING, FINAL_NORM, resid


class _LastStateRead(Exception):  # noqa: N818  (control flow, not an error)
    """Leaves a forward pass whose remaining blocks nobody asked for."""


def read_states(
    anatomy: Anatomy,
    token_ids: Tensor,
    attention_mask: Tensor,
    sites: Sequence[str],
    select: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Run the decoder once and keep ``select(hidden)`` at each site that is not pooled.

    The final state is caught where it enters the unembedding, so no logits are computed.

    Parameters
    ----------
    anatomy
        The parts of the model.
    token_ids, attention_mask
        Right-padded batch, each ``(n_rows, n_positions)``.
    sites
        Any of ``embedding``, ``resid.<L>`` and ``final_norm``.
    select
        Called on each hidden state ``(n_rows, n_positions, width)`` as it passes; only what it
        returns is kept.
    """
    kept: dict[str, Tensor] = {}
    wanted = set(sites)

    def keep(site: str, hidden: Tensor) -> None:
        kept[site] = select(hidden)
        if kept.keys() == wanted:
            raise _LastStateRead

    with watched(anatomy, wanted, keep):
        try:
            output = anatomy.decoder(
                input_ids=token_ids, attention_mask=attention_mask, use_cache=False
            )
            if FINAL_NORM in wanted and FINAL_NORM not in kept:
                keep(FINAL_NORM, output.last_hidden_state)
        except _LastStateRead:
            pass
    return kept


@contextmanager
def watched(
    anatomy: Anatomy, sites: Collection[str], keep: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call ``keep(site, hidden)`` whenever a state passes one of the sites.

    These are the state before block 1, after each wanted block, and before the unembedding.
    """

    def entering(site: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            named = "hidden_states" if "hidden_states" in kwargs else "input"
            keep(site, args[0] if args else kwargs[named])

        return hook

    def leaving(site: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_block: nn.Module, _args: Any, output: Any) -> None:
            keep(site, output if isinstance(output, Tensor) else output[0])

        return hook

    handles = []
    try:
        for site, module in (
            (EMBEDDING, anatomy.blocks[0]),
            (FINAL_NORM, anatomy.unembedding_maps[0]),
        ):
            if site in sites:
                hook = entering(site)
                handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        for number, block in enumerate(anatomy.blocks, start=1):
            if resid(number) in sites:
                handles.append(block.register_forward_hook(leaving(resid(number))))
        yield
    finally:
        for handle in handles:
            handle.remove()


def pad_right(contexts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad contexts on the right; the mask comes from their lengths, never from a padding id.

    Returns
    -------
    token_ids, attention_mask
        Each ``(n_rows, longest)``; the mask is 1 on tokens and 0 on padding.
    """
    longest = max(map(len, contexts))
    rows = [[*context, *([0] * (longest - len(context)))] for context in contexts]
    lengths = torch.tensor([len(context) for context in contexts])
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    return torch.tensor(rows).to(device), mask.long().to(device)
