"""Which passes of a ``pyro.markov`` loop have to run? One of each kind; the others are copies.

A pass that finds everything as an earlier one found it (`program_state`), and whose number gets the
same answers to all that the program asks of it (`positions`), does what that one did, one position
further, and leaves everything as that one left it. By induction the passes between repeat, until a
comparison of the number comes out differently. So a loop over 20,000 positions runs a handful of
times. A loop that repeats nothing, or holds what cannot be looked into, runs pass by pass.
"""

import dis
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import pyro
import torch
from pyro.poutine.markov_messenger import MarkovMessenger
from pyro.poutine.messenger import Messenger

from .positions import Position, Start, Uses
from .program_state import State, moved_positions, state_of

FEWEST = 12
"""Passes of a loop that is worth it."""
LONGEST_PERIOD = 4
"""Passes after which dimensions are used again: one more than the history of the loop."""
COLLECTING = ("LIST_APPEND", "SET_ADD", "MAP_ADD", "YIELD_VALUE", "SEND")


@dataclass(frozen=True)
class Repeats:
    """Passes that were not run.

    Attributes
    ----------
    first : int
        The first of them.
    period, times : int
        The ``period`` passes before it were repeated so many times.
    """

    first: int
    period: int
    times: int


@dataclass
class Visits:
    """The passes of one loop that ran, in order, and those that were copied."""

    ran: list[int] = field(default_factory=list)
    copied: list[Repeats] = field(default_factory=list)

    def with_some(self, generator: torch.Generator) -> list[int]:
        """Return the passes that ran and, of each series of copies, one drawn at random."""
        some: list[int] = []
        for one in self.copied:
            which = int(torch.randint(one.times, (1,), generator=generator))
            first = one.first + which * one.period
            some += range(first, first + one.period)
        return sorted(self.ran + some)


class Walker(Protocol):
    """Chooses the passes of one loop."""

    def advance(self, frame: FrameType) -> Any:
        """Return the number of the next pass, or None after the last one."""


@contextmanager
def walking(make: Callable[[range], Walker | None]) -> Iterator[None]:
    """Let ``make`` choose the passes of each long ``pyro.markov`` loop that is in no other one."""
    as_written = MarkovMessenger.__iter__
    active: list[Walker] = []

    def iterate(self: MarkovMessenger) -> Iterator[Any]:
        frame = sys._getframe(1)
        is_long = isinstance(self._iterable, range) and len(self._iterable) >= FEWEST
        if is_long and not active and _is_plain(frame):
            return passes(self, frame, self._iterable)
        yield_all: Iterator[Any] = as_written(self)
        return yield_all

    def passes(self: MarkovMessenger, frame: FrameType, positions: range) -> Iterator[Any]:
        walker = make(positions) if sys._getframe(1) is frame else None
        if walker is None:
            yield from as_written(self)
            return
        active.append(walker)
        try:
            with ExitStack() as stack:
                while (number := walker.advance(sys._getframe(1))) is not None:
                    stack.enter_context(self)
                    yield number
        finally:
            active.clear()

    MarkovMessenger.__iter__ = iterate
    try:
        yield
    finally:
        MarkovMessenger.__iter__ = as_written


def _is_plain(frame: FrameType) -> bool:
    """Whether a ``for`` statement of the frame itself runs over the loop, and collects nothing."""
    code, here = frame.f_code, frame.f_lasti
    if dis.opname[code.co_code[here]] != "GET_ITER" or code.co_name.startswith("<"):
        return False
    ahead = [one for one in dis.get_instructions(code) if one.offset > here]
    if not ahead or ahead[0].opname != "FOR_ITER":
        return False
    return not any(one.opname in COLLECTING for one in ahead if one.offset < ahead[0].argval)


@dataclass(frozen=True)
class Record:
    """What a recorder had where a pass begins: counts of statements, and the concepts in scope."""

    n_sites: int
    n_asked: int
    n_named: int
    in_scope: dict[int, str]


class Recorder(Protocol):
    """Keeps the sites of a program that runs, as far as a loop has to know."""

    def begin_pass(self) -> Record:
        """Return where a pass begins."""

    def is_regular(self, start: Record, number: int, written: int) -> bool:
        """Whether all that was asked for since is named by the number of the pass alone."""

    def moved_names(self, before: Record, distance: int) -> set[str] | None:
        """Return the concepts in scope before that are now so much further; None if others are."""

    def copy_passes(self, start: Record, moved: set[str], distance: int, times: int) -> None:
        """Write down the passes since ``start`` so many times again, each further by a distance."""


@dataclass
class Head:
    """The program where a pass begins."""

    number: int
    state: State
    record: Record
    uses: Uses
    start: Start


class Repeating:
    """Runs the passes of a loop that are not copies of others, and has a recorder copy the rest."""

    def __init__(self, positions: range, recorder: Recorder, visits: Visits) -> None:
        self.positions, self.recorder, self.visits = positions, recorder, visits
        self._next = 0
        self._heads: list[Head] = []

    def advance(self, frame: FrameType) -> Any:
        """Return the number of the next pass, or None after the last one."""
        if self._next >= len(self.positions):
            return None
        uses, start = Uses(), Start(self.positions[self._next])
        head = Head(start.number, state_of(frame), self.recorder.begin_pass(), uses, start)
        self._close()
        if self._copy(head):
            start.number = self.positions[self._next]
            head = Head(start.number, head.state, self.recorder.begin_pass(), uses, start)
            self._heads = []
        self._heads = [*self._heads, head][-LONGEST_PERIOD - 1 :]
        self.visits.ran.append(self._next)
        self._next += 1
        return Position(start, uses)

    def _close(self) -> None:
        """Look at what the pass before has asked for."""
        if self._heads:
            last = self._heads[-1]
            if not self.recorder.is_regular(last.record, last.number, last.uses.written):
                last.uses.is_open = True

    def _copy(self, head: Head) -> bool:
        for period in range(1, len(self._heads) + 1):
            block = self._heads[-period:]
            distance = head.number - block[0].number
            times = self._times(block, distance)
            if times < 1:
                continue
            positions = moved_positions(block[0].state, head.state, distance)
            names = self.recorder.moved_names(block[0].record, distance)
            if positions is None or names is None:
                continue
            self.recorder.copy_passes(block[0].record, names, distance, times)
            for start in {id(one.start): one.start for one in positions}.values():
                start.number += times * distance
            self.visits.copied.append(Repeats(self._next, period, times))
            self._next += times * period
            return True
        return False

    def _times(self, block: Sequence[Head], distance: int) -> int:
        """How often a block of passes repeats before a comparison comes out differently."""
        room = (len(self.positions) - 1 - self._next) // len(block)  # the last pass always runs
        steps = [one.uses.steps_until_other(one.number, distance) for one in block]
        return int(min([room, *steps]))


class Again:
    """Runs the passes that ran before, by plain numbers, and some of the copied ones."""

    def __init__(self, positions: range, passes: Sequence[int]) -> None:
        self.positions, self.passes = positions, passes
        self.done = 0

    def advance(self, frame: FrameType) -> Any:
        """Return the number of the next pass, or None after the last one."""
        del frame
        if self.done >= len(self.passes):
            return None
        self.done += 1
        return self.positions[self.passes[self.done - 1]]


def ends_of(positions: range) -> list[int]:
    """Return the first passes of a loop and the last ones, to learn what is the same in all."""
    n = len(positions)
    return [*range(FEWEST // 2), *range(n - FEWEST // 2, n)]


def run(
    model: Any,
    n_tokens: int,
    *handlers: Messenger,
    walker: Callable[[range], Walker | None] | None = None,
) -> None:
    """Run the program under the handlers, the first asked first, without touching global state.

    ``walker`` chooses the passes of its loops; without one, all run.
    """
    store = pyro.get_param_store()
    walked = walking(walker) if walker is not None else nullcontext()
    with torch.random.fork_rng(devices=[]), store.scope(store.get_state()), walked:
        for handler in handlers:  # the innermost sees a statement first
            model = handler(model)
        model(n_tokens)
