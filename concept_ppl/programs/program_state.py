"""All that a program can see where a pass of its loop begins: is it the same as passes before?

From the frame that loops, everything is walked that its code can reach: local variables, what
functions close over, the globals that they name, and what lies inside of those. Two states are the
same if they hold equal values in the same places, up to the number of the pass. What cannot be
looked into (an iterator, a generator) makes a state unlike any other.
"""

import functools
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .control_flow import plain
from .lines import is_own
from .positions import Position

MOST = 200_000
"""Places of a state; a program that can see more is not compared."""
DEEPEST = 50
"""Nodes of two gradient graphs that are compared."""
ATOMS = (int, float, complex, str, bytes, type(None), range, slice, type(Ellipsis))
CONSTANTS = (torch.dtype, torch.device, torch.Size, np.dtype, np.generic)


@dataclass
class State:
    """What a program can see, place by place.

    Attributes
    ----------
    places : list of tuple
        (what it is, its value or the object itself, a number that changes with its content).
    is_whole : bool
        Whether all of it could be looked into.
    """

    places: list[tuple[str, Any, Any]] = field(default_factory=list)
    is_whole: bool = True


def state_of(frame: FrameType) -> State:
    """Walk all that the code of a frame can reach."""
    walk = _Walk(State())
    for name, value in frame.f_locals.items():
        walk.add("local", name)
        walk.visit(value)
    walk.code(frame.f_code, frame.f_globals)
    return walk.state


def moved_positions(before: State, after: State, distance: int) -> list[Position] | None:
    """Return the numbers of passes that have moved on, or None if the states are not the same.

    Parameters
    ----------
    before, after
        Of two passes.
    distance
        By how much the number of the second is larger.
    """
    if not (before.is_whole and after.is_whole and len(before.places) == len(after.places)):
        return None
    moved = []
    for one, other in zip(before.places, after.places, strict=True):
        if one[0] != other[0]:
            return None
        if one[0] == "position":
            if other[2] - one[2] == distance:
                moved.append(other[1])
            elif other[2] != one[2]:
                return None
        elif not _SAME[one[0]](one, other):
            return None
    return moved


@dataclass
class _Walk:
    state: State
    seen: dict[int, int] = field(default_factory=dict)
    codes: set[CodeType] = field(default_factory=set)
    kept: list[Any] = field(default_factory=list)

    def add(self, kind: str, value: Any, content: Any = None) -> None:
        self.state.places.append((kind, value, content))
        if len(self.state.places) > MOST:
            self.state.is_whole = False

    def visit(self, value: Any) -> None:
        if not self.state.is_whole:
            return
        if isinstance(value, ATOMS):
            self.add("atom", value, type(value))
        elif isinstance(value, Position):
            self.add("position", value, value.number)
        elif id(value) in self.seen:
            self.add("again", self.seen[id(value)])
        else:
            self.seen[id(value)] = len(self.seen)
            self.kept.append(value)  # or its id could be given to another object
            self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.add("tensor", value, value._version)
        elif isinstance(value, np.ndarray):
            known = value.dtype != object
            self.add("atom", (value.shape, str(value.dtype), hash(value.tobytes())), np.ndarray)
            self.state.is_whole &= known
        elif isinstance(value, list | tuple | set | frozenset):
            self._collection(value)
        elif isinstance(value, dict):
            self._attributes(value)
        elif isinstance(value, CONSTANTS):
            self.add("atom", value, type(value))
        else:
            self._code_or_instance(value)

    def _collection(self, value: Any) -> None:
        self.add("atom", len(value), type(value))
        ordered = isinstance(value, list | tuple)
        if not ordered and not all(isinstance(one, ATOMS) for one in value):
            self.state.is_whole = False
            return
        for one in value if ordered else sorted(value, key=repr):
            self.visit(one)

    def _attributes(self, attributes: dict[Any, Any]) -> None:
        self.add("atom", len(attributes), dict)
        for key, one in list(attributes.items()):
            self.visit(key)
            self.visit(one)

    def _code_or_instance(self, value: Any) -> None:
        self.add("identity", value if not _is_instance(value) else type(value))
        if isinstance(value, FunctionType):
            if is_own(value.__code__.co_filename):
                self._function(value)
        elif isinstance(value, MethodType):
            self.visit(value.__self__)
            self.visit(value.__func__)
        elif isinstance(value, BuiltinFunctionType):
            if not isinstance(value.__self__, ModuleType | type | None):
                self.visit(value.__self__)
        elif isinstance(value, functools.partial):
            self._collection([value.func, *value.args])
            self._attributes(value.keywords)
        elif isinstance(value, type):
            if _is_own_module(sys.modules.get(value.__module__)):
                self._named(vars(value), [name for name in vars(value) if name[:2] != "__"])
        elif not isinstance(value, ModuleType):
            self._instance(value)

    def _instance(self, value: Any) -> None:
        slots = [n for cls in type(value).__mro__ for n in getattr(cls, "__slots__", ())]
        if not hasattr(value, "__dict__") and not slots:
            self.state.is_whole = False
            return
        self.visit(type(value))
        self._attributes(dict(getattr(value, "__dict__", {})))
        self._attributes({n: getattr(value, n) for n in slots if hasattr(value, n)})

    def _function(self, value: FunctionType) -> None:
        for cell in value.__closure__ or ():
            try:
                self.visit(cell.cell_contents)
            except ValueError:  # not bound yet
                self.add("atom", None, ValueError)
        self._collection(value.__defaults__ or ())
        self._attributes(value.__kwdefaults__ or {})
        self._attributes(value.__dict__)
        self.code(value.__code__, value.__globals__)

    def code(self, code: CodeType, names: dict[str, Any]) -> None:
        """Visit the globals that a piece of code names, and those of the code within it."""
        if code in self.codes:
            return
        self.codes.add(code)
        self._named(names, code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.code(constant, names)
        for module in [names.get(n) for n in code.co_names]:
            if isinstance(module, ModuleType) and _is_own_module(module):
                self._named(vars(module), code.co_names)

    def _named(self, within: Any, names: Iterable[str]) -> None:
        for name in names:
            if name in within:
                self.add("local", name)
                self.visit(within[name])


def _is_instance(value: Any) -> bool:
    kinds = (FunctionType, MethodType, BuiltinFunctionType, ModuleType, type, functools.partial)
    return not isinstance(value, kinds)


def _is_own_module(module: ModuleType | None) -> bool:
    return is_own(getattr(module, "__file__", None) or "site-packages")


def _equal(one: tuple[str, Any, Any], other: tuple[str, Any, Any]) -> bool:
    return one[2] is other[2] and (one[1] is other[1] or bool(one[1] == other[1]))


def _same_tensor(one: tuple[str, Any, Any], other: tuple[str, Any, Any]) -> bool:
    a, b = one[1], other[1]
    if a._version != one[2] or (a is b and one[2] != other[2]):
        return False  # written to since
    if a is b:
        return True
    like = type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype
    if not like or a.device != b.device or a.requires_grad != b.requires_grad:
        return False
    same = torch.equal(plain(a.detach()), plain(b.detach()))
    return same and (not a.requires_grad or _same_graphs(a.grad_fn, b.grad_fn))


def _same_graphs(one: Any, other: Any) -> bool:
    """Whether two tensors were made of the same leaves by the same operations."""
    pairs = [(one, other)]
    for _ in range(DEEPEST):
        if not pairs:
            return True
        a, b = pairs.pop()
        if a is b:
            continue
        if a is None or b is None or a.name() != b.name():
            return False
        if hasattr(a, "variable") or len(a.next_functions) != len(b.next_functions):
            return False  # leaves are the same object or not at all
        inputs = zip(a.next_functions, b.next_functions, strict=True)
        pairs += [(p[0], q[0]) for p, q in inputs]
    return False


_SAME = {
    "local": lambda one, other: one[1] == other[1],
    "again": lambda one, other: one[1] == other[1],
    "identity": lambda one, other: one[1] is other[1],
    "atom": _equal,
    "tensor": _same_tensor,
}
