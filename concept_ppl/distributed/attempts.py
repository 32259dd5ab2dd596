"""What a worker does, wherever it runs: get ready once, then answer one part after the other.

Numbers must not depend on how many workers there are, so that each computes with one thread.
"""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from concept_ppl.errors import ConceptPPLError

Ask = Callable[[Any], Any]
Prepare = Callable[[], Ask]
"""Called once by each worker; returns the function that answers a part."""


@dataclass(frozen=True)
class Failure:
    """Why something could not be done.

    Attributes
    ----------
    reason
        One sentence.
    details
        The traceback, where there is one.
    """

    reason: str
    details: str = ""


@dataclass(frozen=True)
class Done:
    """What came out."""

    value: Any


def attempt(ask: Callable[..., Any], *arguments: Any) -> Done | Failure:
    """Call a function with one thread, and turn whatever it raises into a failure."""
    try:
        with one_thread():
            return Done(ask(*arguments))
    except Exception as error:
        return Failure(reason_of(error), traceback.format_exc())


def reason_of(error: BaseException) -> str:
    """Write an error as one sentence."""
    text = " ".join(str(error).split())
    if isinstance(error, ConceptPPLError):
        return text
    kind = type(error).__name__
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "Allocator" in text:
        return f"there is not enough memory ({text or kind})."
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is missing ({text}); install it there."
    return f"{kind}: {text}" if text else f"{kind}."


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS, OpenMP and torch compute with one thread."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 0
    if torch is not None and before != 1:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        if torch is not None and before != 1:
            torch.set_num_threads(before)
