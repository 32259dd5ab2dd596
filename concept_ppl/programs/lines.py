"""Which line of the user's program is it? For messages that name one."""

import linecache
import re
import sys
import traceback
from dataclasses import dataclass
from textwrap import shorten
from types import FrameType, TracebackType

_OTHERS = re.compile(r"site-packages|contextlib\.py|concept_ppl/programs/|^<frozen ")


WIDTH = 80
"""Characters of a line that a message shows."""


@dataclass(frozen=True)
class Line:
    """A line of a program.

    Attributes
    ----------
    file : str
    number : int
        From 1.
    """

    file: str
    number: int

    def __str__(self) -> str:
        text = shorten(linecache.getline(self.file, self.number), WIDTH, placeholder=" …")
        return f"line {self.number} ({text})" if text else f"line {self.number}"


def is_own(file: str) -> bool:
    """Whether a file is the user's, not a library's and not this package's way of running it."""
    return not _OTHERS.search(file)


def own_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the user's program, from a frame that it called."""
    while frame is not None and not is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def line_here() -> Line | None:
    """Return the line of the user's program that is running."""
    frame = own_frame(sys._getframe(1))
    return None if frame is None else Line(frame.f_code.co_filename, frame.f_lineno)


def line_of_error(trace: TracebackType | None) -> Line | None:
    """Return the innermost line of the user's program in a traceback."""
    own = [f for f in traceback.extract_tb(trace) if f.line and is_own(f.filename)]
    return Line(own[-1].filename, own[-1].lineno or 0) if own else None
