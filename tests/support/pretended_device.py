"""A device that this machine lacks: tensors say that they lie there, their numbers are on the CPU.

Code for a GPU is run by tests that have none. What CUDA refuses is refused: an operation on tensors
of two devices (a number from the CPU may join, and an index from there), and numpy's reading of a
tensor that was not fetched first. Speed and rounding are the CPU's. The device is called ``meta``,
the only one beside the CPU for which every build of torch can hold tensors.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

THERE, HERE = "meta", torch.device("cpu")
TRANSFERS = ("aten::_to_copy", "aten::copy_", "aten::to")
LOOK_UPS = ("aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_")
LOOK_UPS += ("aten::_index_put_impl_",)
FROM_NUMBERS = ("tensor", "as_tensor", "asarray")


class Pretender(torch.Tensor):
    """A tensor on the pretended device; ``numbers`` is what it would hold."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=torch.device(THERE),
            requires_grad=numbers.requires_grad,
        )

    def __init__(self, numbers):
        self.numbers = numbers

    def __repr__(self, *, tensor_contents=None):
        return f"Pretender({self.numbers!r})"

    def __array__(self, *args, **options):
        raise TypeError(f"a tensor on device {THERE} is no array; call .cpu() first")

    def numpy(self, *, force=False):
        if not force:
            self.__array__()
        return self.detach().cpu().numpy()

    def tolist(self):
        return self.numbers.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})


class _Pretending(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})


@contextmanager
def pretended_device() -> Iterator[str]:
    """Let tensors be made on a device that is not there, and moved to it; yield its name."""
    with ExitStack() as stack:
        for name in FROM_NUMBERS:
            stack.enter_context(mock.patch.object(torch, name, _here_first(getattr(torch, name))))
        stack.enter_context(_Pretending())
        yield THERE


def _here_first(make):
    """Numbers of Python become a tensor here, which then moves: there it would have none."""

    def made(*args, device=None, **options):
        tensor = make(*args, **options)
        return tensor if device is None else tensor.to(device)

    return made


def _compute(func, args, kwargs):
    """Do the operation here, and let the result say where it would lie."""
    inputs = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    name = func._schema.name
    wanted = kwargs.get("device")
    goes = torch.device(wanted) if wanted is not None else _where(name, inputs)
    options = {key: value for key, value in kwargs.items() if key != "pin_memory"}
    if wanted is not None:
        options["device"] = HERE
    own_args, own_options = tree_map_only(Pretender, lambda t: t.numbers, (args, options))
    result = func(*own_args, **own_options)
    if goes == HERE:
        return result
    went_in = {id(t.numbers): t for t in inputs if isinstance(t, Pretender)}

    def there(tensor):
        known = went_in.get(id(tensor))  # an operation in place returns the tensor that went in
        return Pretender(tensor) if known is None else known

    return tree_map_only(torch.Tensor, there, result)


def _where(name, inputs):
    if name in TRANSFERS:
        return inputs[0].device
    places = {t.device for t in inputs if t.dim() or t.device != HERE}
    elsewhere = places - {HERE}
    looks_up = name in LOOK_UPS and inputs[0].device != HERE
    if elsewhere and HERE in places and not looks_up:
        raise RuntimeError(f"{name}: tensors of one operation lie on {sorted(map(str, places))}")
    return elsewhere.pop() if elsewhere else HERE
