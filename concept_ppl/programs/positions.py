"""The number of a pass through a loop, which remembers what the program has asked of it.

Written into a site's name it is the number that it stands for. Compared with a number, it remembers
which, so that it is known for which other passes the answer would be the same. Whatever else is
done with it (an index into a table, a product) makes the pass one of a kind.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Uses:
    """What one pass asked of its number.

    Attributes
    ----------
    compared : set of float
        The numbers at which the answer of a comparison changes.
    written : int
        How often it was written into a text.
    is_open : bool
        Whether it was used as a number, so that nothing is known of other passes.
    """

    compared: set[float] = field(default_factory=set)
    written: int = 0
    is_open: bool = False

    def steps_until_other(self, number: int, distance: int) -> float:
        """Return how many times the pass at ``number`` is repeated, each ``distance`` further."""
        if self.is_open or number in self.compared:
            return 0
        ahead = [(at - number) / distance for at in self.compared]
        steps = [step for step in ahead if step > 0]
        return min(float(-(-step // 1)) - 1 for step in steps) if steps else float("inf")


class Start:
    """The number itself, shared by what was computed from it by adding to it."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Position:
    """A whole number that is no ``int``, so that no library can read it unseen."""

    __slots__ = ("added", "start", "uses")

    def __init__(self, start: Start, uses: Uses, added: int = 0) -> None:
        self.start, self.uses, self.added = start, uses, added

    @property
    def number(self) -> int:
        """What it stands for."""
        return self.start.number + self.added

    def _opened(self) -> int:
        self.uses.is_open = True
        return self.number

    def __index__(self) -> int:
        return self._opened()

    def __int__(self) -> int:
        return self._opened()

    def __float__(self) -> float:
        return float(self._opened())

    def __hash__(self) -> int:
        return hash(self._opened())

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __str__(self) -> str:
        self.uses.written += 1
        return str(self.number)

    __repr__ = __str__

    def __format__(self, specification: str) -> str:
        self.uses.written += 1
        return format(self.number, specification)

    def __add__(self, other: Any) -> Any:
        if type(other) is int:
            return Position(self.start, self.uses, self.added + other)
        return self._opened() + other

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if type(other) is int:
            return Position(self.start, self.uses, self.added - other)
        return self._opened() - other

    def __rsub__(self, other: Any) -> Any:
        return other - self._opened()

    def __neg__(self) -> int:
        return -self._opened()

    def __abs__(self) -> int:
        return abs(self._opened())

    def _compare(self, other: Any, compare: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, Position):
            if other.start is not self.start:
                self._opened(), other._opened()
            other = other.number
        elif isinstance(other, int | float):
            self.uses.compared.add(other - self.added)
        else:
            self._opened()
        return compare(self.number, other)

    def __eq__(self, other: object) -> Any:
        return self._compare(other, operator.eq)

    def __ne__(self, other: object) -> Any:
        return self._compare(other, operator.ne)

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, operator.lt)

    def __le__(self, other: Any) -> Any:
        return self._compare(other, operator.le)

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, operator.gt)

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, operator.ge)


def _open_both_ways(name: str) -> None:
    """Let an operator work on the plain number."""
    plain = getattr(operator, name)

    def forward(self: Position, other: Any) -> Any:
        return plain(self._opened(), other)

    def reflected(self: Position, other: Any) -> Any:
        return plain(other, self._opened())

    own = name.strip("_")
    setattr(Position, f"__{own}__", forward)
    setattr(Position, f"__r{own}__", reflected)


for _name in ("mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor"):
    _open_both_ways(_name)


_NUMBERED = re.compile(r"(.+)_(\d+)(\.\d+)?")


def numbered(name: str, number: int) -> tuple[str, int, str] | None:
    """Return a name's text, how far its number is from that of the pass, and a plate's member."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2]) - number, match[3] or "") if match else None


def further(name: str, distance: int) -> str:
    """Return the name of a site so many numbers further; one without a number stays as it is."""
    match = _NUMBERED.fullmatch(name)
    return f"{match[1]}_{int(match[2]) + distance}{match[3] or ''}" if match else name
