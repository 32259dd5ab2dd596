"""Progress is for people at a terminal: shown there, absent anywhere else."""

import contextlib
import io
import time

import pytest

from concept_ppl.cli.progress import stage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_a_terminal_sees_the_stage_and_its_count(terminal):
    with contextlib.redirect_stderr(terminal), stage("read states") as progress:
        progress(3, 8)
    assert "read states" in terminal.getvalue()
    assert "8/8" in terminal.getvalue()


def test_the_spinner_turns_while_a_library_has_its_stderr_redirected(terminal):
    hidden = io.StringIO()
    with contextlib.redirect_stderr(terminal), stage("load"), contextlib.redirect_stderr(hidden):
        before = len(terminal.getvalue())
        patience = time.monotonic() + 10
        while len(terminal.getvalue()) == before:
            assert time.monotonic() < patience
            time.sleep(0.02)
    assert hidden.getvalue() == ""


def test_nothing_is_shown_where_nobody_looks():
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), stage("read states") as progress:
        progress(3, 8)
    assert stream.getvalue() == ""
