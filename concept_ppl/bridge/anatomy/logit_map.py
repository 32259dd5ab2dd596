"""What does a model make of the values that leave its unembedding? A scale and a cap, measured.

Some models multiply them by a constant, some bend them with ``cap * tanh(x / cap)``, under many
names in their configs. So neither is read off a name: known values, from a millionth to tens of
thousands, are planted behind the unembedding, and the model's own logits are looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Largest relative difference at any planted value, by the type in which the logits come out.
RELATIVE_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-5}
RELATIVE_TOLERANCE_HALF = 2e-2
SMALLEST, LARGEST = -20, 15
"""Exponents of two: tanh is its argument below the one; float16 holds the other."""


@dataclass(frozen=True, slots=True)
class LogitMap:
    """logits = scale · u, or cap · tanh(scale · u / cap), of the unembedded state u.

    Attributes
    ----------
    scale
        What the model multiplies by; 1 for most.
    cap
        What no logit exceeds; ``None`` for most.
    """

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, unembedded: Tensor) -> Tensor:
        """Return the logits of unembedded states, of any shape."""
        logits = unembedded * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


@contextmanager
def planted_behind(unembedding: nn.Module) -> Iterator[list[Tensor]]:
    """Replace what leaves the unembedding by known values; yields the list that they are put in."""
    planted: list[Tensor] = []

    def plant(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        # In double precision what the model does next rounds as little as can be.
        exact = torch.float32 if output.device.type == "mps" else torch.float64
        powers = 2.0 ** torch.arange(SMALLEST, LARGEST + 1, dtype=torch.float64)
        values = torch.cat([powers, -powers, torch.zeros(1, dtype=torch.float64)])
        flat = values.repeat(-(-output.numel() // len(values)))[: output.numel()]
        planted.append(flat.reshape(output.shape).to(output.device, exact))
        return planted[-1]

    handle = unembedding.register_forward_hook(plant)
    try:
        yield planted
    finally:
        handle.remove()


def measured_logit_map(planted: Tensor, logits: Tensor) -> LogitMap | None:
    """Return the map that makes the logits of the planted values, or None if it is none of these.

    Parameters
    ----------
    planted
        What was planted, of any shape.
    logits
        What came out, of the same shape if the map is one of these.
    """
    if logits.shape != planted.shape:
        return None
    scale, largest = (float(logits[planted == value].flatten()[0]) for value in (1.0, 2.0**LARGEST))
    found = LogitMap(scale)
    if not abs(largest) > 0.9 * abs(scale) * 2.0**LARGEST:
        smallest = float(logits[planted == 2.0**SMALLEST].flatten()[0]) / 2.0**SMALLEST
        found = LogitMap(float(f"{smallest:.6g}"), abs(largest))
    expected = found(planted.double() if planted.dtype == torch.float64 else planted)
    tolerance = RELATIVE_TOLERANCE.get(logits.dtype, RELATIVE_TOLERANCE_HALF)
    difference = (logits.to(expected.dtype) - expected).abs()
    return found if bool((difference <= tolerance * expected.abs()).all()) else None
