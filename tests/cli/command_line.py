"""The command line in this process, as a shell would see it."""

import contextlib
import io
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from safetensors.numpy import load_file

from concept_ppl import cli


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


def concept_ppl(command: str) -> Outcome:
    """Run ``concept-ppl`` with these words; what is no exit but an exception stays one."""
    out, err = io.StringIO(), io.StringIO()
    words = ["concept-ppl", *shlex.split(command)]
    with (
        mock.patch.object(sys, "argv", words),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
    return Outcome(status, out.getvalue(), err.getvalue())


def succeeds(command: str) -> str:
    """Run a command that must succeed without a word on stderr; return what it prints."""
    outcome = concept_ppl(command)
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    return outcome.out


def refused(command: str) -> str:
    """Run a command that must end with exit status 2 and one line on stderr; return the line."""
    outcome = concept_ppl(command)
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.endswith(".\n")
    assert outcome.err.count("\n") == 1, outcome.err
    return outcome.err.removeprefix("error: ").strip()


def read_shards(folder: Path) -> dict[str, np.ndarray]:
    """Return every matrix in a folder of states, and the token counts, by name."""
    arrays: dict[str, np.ndarray] = {}
    for path in folder.glob("*.safetensors"):
        arrays |= load_file(path)
    return arrays


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every file's bytes, and None for every folder, hidden ones included."""
    members = (path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in members
    }
