"""A sum that is differentiated part by part: each part's graph is gone before the next is made."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

Parts = Callable[[Sequence[Tensor]], Iterable[tuple[Tensor, Tensor]]]
"""Takes tables; yields a part's value, and what has the part's gradient, often the same."""


def total_in_parts(parts: Parts, tables: Sequence[Tensor], *, share_graph: bool = False) -> Tensor:
    """Return the sum of the values of all parts, differentiable once in the tables.

    Parameters
    ----------
    parts
        Run with gradients, a part when it is asked for.
    tables
        What is differentiated, all on one device.
    share_graph
        Whether parts have nodes in common, which are then kept from one to the next.
    """
    total: Tensor = _Total.apply(parts, share_graph, *tables)  # type: ignore[no-untyped-call]
    return total


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Parts, share_graph: bool, *tables: Tensor) -> Tensor:
        leaves = [table.detach().requires_grad_() for table in tables]
        gradients = [torch.zeros_like(table) for table in tables]
        total = gradients[0].new_zeros(())
        with torch.enable_grad():
            for value, part in parts(leaves):
                own = torch.autograd.grad(
                    part, leaves, allow_unused=True, retain_graph=share_graph or None
                )
                for gradient, more in zip(gradients, own, strict=True):
                    if more is not None:
                        gradient.add_(more)
                total += value.detach()
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return (None, None, *(gradient * own for own in ctx.saved_tensors))
