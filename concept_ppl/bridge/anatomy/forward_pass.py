"""One forward pass over a padded batch: reads hidden states as they pass, stops after the last."""

from collections.abc import Callable, Iterator, Sequence
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

    with _hooks(anatomy.blocks, wanted, keep):
        try:
            output = anatomy.decoder(
                input_ids=token_ids, attention_mask=attention_mask, use_cache=False
            )
            if FINAL_NORM in wanted:
                keep(FINAL_NORM, output.last_hidden_state)
        except _LastStateRead:
            pass
    return kept


@contextmanager
def _hooks(
    blocks: Sequence[nn.Module], wanted: set[str], keep: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call ``keep`` with the state before block 1 and after each wanted block."""

    def before_first(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(EMBEDDING, args[0] if args else kwargs["hidden_states"])

    def after(site: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_block: nn.Module, _args: Any, output: Any) -> None:
            keep(site, output if isinstance(output, Tensor) else output[0])

        return hook

    handles = []
    try:
        if EMBEDDING in wanted:
            handles.append(blocks[0].register_forward_pre_hook(before_first, with_kwargs=True))
        for number, block in enumerate(blocks, start=1):
            if resid(number) in wanted:
                handles.append(block.register_forward_hook(after(resid(number))))
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
