"""A tensor that knows it depends on an enumerated value, and refuses to become a Python number.

Enumerated, a concept has all its values at once: ``if (z == 7).all():`` takes one branch for all of
them, without an error and with a wrong table. Everything computed from an :class:`EnumeratedValue`
is one too (torch's own propagation of subclasses), so that a branch on it is seen, however rare the
value that takes it.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_TO_PYTHON = {
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
    Tensor.__index__,
    Tensor.item,
    Tensor.tolist,
    Tensor.is_nonzero,
    Tensor.equal,
    Tensor.allclose,
    torch.is_nonzero,
    torch.equal,
    torch.allclose,
}
_LIBRARIES = ("torch", "pyro")
"""Their own checks of a distribution's parameters hold for all values at once."""


class ControlFlowError(TypeError):
    """Python asked for one number where a concept has all its values."""


class EnumeratedValue(Tensor):
    """All values of a concept, laid along a dimension of its own, or something computed of them."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Refuse what makes a Python number of the values; let all else go on.

        Raises
        ------
        ControlFlowError
            If the program, not a library's own check, asks for the number.
        """
        if func in _TO_PYTHON:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.split(".")[0] not in _LIBRARIES:
                raise ControlFlowError("a concept that is enumerated has no single value")
        go_on = super().__torch_function__
        return go_on(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def enumerated(values: Tensor) -> Tensor:
    """Mark the values of a concept; a concept with a single value is constant and stays plain."""
    return values if len(values) == 1 else values.as_subclass(EnumeratedValue)


def plain(tensor: Tensor) -> Tensor:
    """Return the same tensor without the mark."""
    return tensor.as_subclass(Tensor)
