"""Long work in parts: in this process, in processes beside it, or on a Ray cluster."""

from .crews import Answer, Crew, Failure, Prepare, answers
from .environments import environment
from .hiring import hired, hired_beside
from .machines import ONE_PROCESS, Machines
from .parts import FailedPart, Part, finish
from .stores import Store

__all__ = [
    "ONE_PROCESS",
    "Answer",
    "Crew",
    "FailedPart",
    "Failure",
    "Machines",
    "Part",
    "Prepare",
    "Store",
    "answers",
    "environment",
    "finish",
    "hired",
    "hired_beside",
]
