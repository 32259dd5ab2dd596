"""Where a fit goes that could not be written as it should: plain numbers, read back whole."""

import itertools
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.fitting.algorithms.stored_states import UNREADABLE, read_state, write_state
from concept_ppl.reports.manifest import plain

from .fits import Fit
from .observations import Observations

SUFFIX = ".kept.npz"
WORDS = ("build", "options")
"""Fields that hold a user's own arguments: what is no plain value becomes text."""


def keep(fit: Fit, observed: Observations, path: Path) -> Path:
    """Write a fit beside ``path``, else among the temporary files, and replace nothing.

    Returns
    -------
    Path
        Of the file, for :func:`read_kept`.

    Raises
    ------
    OSError
        If there is no place for it at all.
    """
    told = {field.name: getattr(fit, field.name) for field in fields(fit)}
    told |= {name: plain(told[name]) for name in WORDS}
    state = {
        "fit": told,
        "tokens": observed.contexts.tokens,
        "lengths": observed.contexts.lengths,
        "next_tokens": observed.next_tokens,
        "given": observed.given,
        "weights": observed.weights,
    }
    try:
        return _written(state, path.parent, path.name)
    except OSError:
        return _written(state, Path(tempfile.gettempdir()), path.name)


def _written(state: dict[str, Any], folder: Path, name: str) -> Path:
    for number in itertools.count():
        target = folder / f"{name}{f'.{number}' if number else ''}{SUFFIX}"
        if not target.exists():
            break
    try:
        write_state(state, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return target


def read_kept(path: str | Path) -> tuple[Fit, Observations]:
    """Read a fit that :func:`~concept_ppl.fitting.write_fit` could not write.

    Raises
    ------
    InputError
        If the file is missing or is none of that kind.
    """
    try:
        state = read_state(Path(path))
        told = dict(state["fit"])
        for name in ("history", "warnings"):
            told[name] = tuple(told[name])
        told["shapes"] = {name: tuple(shape) for name, shape in told["shapes"].items()}
        observed = Observations(
            Contexts(state["tokens"], state["lengths"]),
            state["next_tokens"],
            state["given"],
            state["weights"],
        )
        return Fit(**told), observed
    except UNREADABLE as error:
        raise InputError(f"{path} is no fit that was kept; name one that write_fit did.") from error
