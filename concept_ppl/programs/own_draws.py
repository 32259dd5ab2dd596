"""Does a program draw random numbers of its own? Then it has no one posterior, and is refused.

Every site of an enumerated program has its values given, so that none needs a random number. One
that is drawn all the same (``torch.rand`` in the program, a weight that starts at random) is an
arbitrary part of its tables. The states of the generators tell, at the cost of comparing them; the
line is looked for only where one has changed.
"""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger

from concept_ppl.errors import ModelError

from .lines import Line, is_own, own_frame

States = dict[str, Any]
Span = tuple[str, int, int]
"""A file, the first line of a call in it, and the last."""


def generator_states() -> States:
    """Return the state of each global generator by its name: of torch, numpy and random.

    Those of CUDA devices are among them once CUDA is in use.
    """
    _, words, *rest = np.random.get_state()  # noqa: NPY002  (the user's draws, not ours)
    states = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (np.asarray(words).tobytes(), *rest),
        "random": random.getstate(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        on_devices = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
        states["cuda"] = tuple(on_devices)
    return states


def have_drawn(before: States, after: States) -> bool:
    """Whether a generator that is in both has another state: one that came into use drew nothing.

    What it draws as it comes into use is seen in the next run.
    """
    return any(after[name] != state for name, state in before.items())


@contextmanager
def same_draws(seed: int = 0) -> Iterator[None]:
    """Seed the global generators on the CPU for a block, and leave them as they were before it."""
    state, own = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(own)


class OwnDraws(Messenger):  # type: ignore[misc]
    """Notice whether a run draws from a global generator, and leave numpy's and random's as before.

    Attributes
    ----------
    happened : bool
        Known after the run.
    given_parameters : list of Span
        Calls of ``pyro.param`` whose values are given: an initial value that is drawn is not used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.happened = False
        self.given_parameters: list[Span] = []

    def __enter__(self) -> Any:
        self._before = generator_states()
        self._numpy, self._random = np.random.get_state(), random.getstate()  # noqa: NPY002
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        self.happened = have_drawn(self._before, generator_states())
        if self.happened:
            np.random.set_state(self._numpy)  # noqa: NPY002
            random.setstate(self._random)
        return super().__exit__(*error)

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        frame = own_frame(sys._getframe(1))
        if msg["done"] and frame is not None:  # a handler further in has given its value
            places = list(frame.f_code.co_positions())[frame.f_lasti // 2]
            first, last = places[0] or frame.f_lineno, places[1] or frame.f_lineno
            self.given_parameters.append((frame.f_code.co_filename, first, last))


def require_no_own_draws(name: str, again: Callable[[OwnDraws], None]) -> None:
    """Run a program that drew random numbers once more, and refuse it with the line that drew.

    Parameters
    ----------
    name
        Of the model.
    again
        Runs the program under a handler.

    Raises
    ------
    ModelError
        If it draws anything but initial values of parameters that are given.
    """
    watch, tracer = OwnDraws(), _Tracer()
    before = sys.gettrace()
    sys.settrace(tracer.on_call)
    try:
        again(watch)
    finally:
        sys.settrace(before)
    unused = [line for line in tracer.lines if _lies_in(line, watch.given_parameters)]
    own = [line for line in tracer.lines if line not in unused]
    if unused and not own:
        return
    where = f" at {own[0]}" if own else ""
    raise ModelError(
        f"model {name} draws random numbers of its own{where}, so that it has no one posterior; "
        f"make it a site (pyro.sample), or draw the number once, outside of the function."
    )


def _lies_in(line: Line, spans: list[Span]) -> bool:
    return any(file == line.file and a <= line.number <= b for file, a, b in spans)


class _Tracer:
    """Compare the generators' states after each line of the user's program."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._last: Line | None = None
        self._states = generator_states()

    def on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        if not is_own(frame.f_code.co_filename):
            return None
        self._compare()  # what the caller's line drew before it called
        self._last = Line(frame.f_code.co_filename, frame.f_lineno)
        return self._on_line

    def _on_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        del argument
        self._compare()
        at = own_frame(frame.f_back) if event == "return" else frame
        self._last = None if at is None else Line(at.f_code.co_filename, at.f_lineno)
        return self._on_line

    def _compare(self) -> None:
        states = generator_states()
        last = self._last
        if last is not None and last not in self.lines and have_drawn(self._states, states):
            self.lines.append(last)
        self._states = states
