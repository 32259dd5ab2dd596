"""The installed command in a process of its own: exit status, streams, signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concept_ppl import __version__, cli

from .command_line import concept_ppl, succeeds, tree
from .conftest import WORLD

COMMAND = str(Path(sys.executable).with_name("concept-ppl"))
COMMANDS = [
    *("", "models", "simulate", "posterior", "fit", "compare", "check", "extract", "analyse"),
    *("study", "study language", "study labelled", "study words"),
]
ENDLESS = """
import time

def model(n_tokens):
    time.sleep(600)
"""

DEAF = """
import time

def model(n_tokens):
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            pass
"""
UNKNOWN = """
import pyro, torch
import pyro.distributions as dist

def model(n_tokens):
    words = pyro.sample("words", dist.Dirichlet(torch.ones(30)))
    pyro.sample("a", dist.Bernoulli(0.5))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(words))
"""


def shell(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [COMMAND, *words], capture_output=True, text=True, check=False, timeout=120, **options
    )


@pytest.mark.slow
def test_the_whole_way_prints_the_page_alone(here, language_model):
    simulated = shell("simulate", "switching_languages", "-n", "60", *WORLD.split(), "-o", "t.pq")
    answered = shell("posterior", "switching_languages", "t.pq", *WORLD.split(), "-o", "p.pq")
    extracted = shell("extract", str(language_model), "t.pq", "-o", "states")
    analysed = shell("analyse", "states", "p.pq", "-o", "report")
    for quiet in (simulated, answered):
        assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert (extracted.returncode, extracted.stderr) == (0, "")
    assert extracted.stdout == "states: 60 states of 16 float32 at 6 sites, 23.8 kB\n"
    assert (analysed.returncode, analysed.stderr) == (0, "")
    assert analysed.stdout == "report/index.html\n"
    assert Path("report/index.html").is_file()


def test_bad_input_is_one_line_on_stderr_and_status_2(here):
    result = shell("posterior", "word_languages", "missing.parquet", "-o", "o.parquet")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "error: missing.parquet does not exist; name a Parquet file.\n"
    assert list(here.iterdir()) == []


HEARS = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="a shell starts what it sends to the background deaf to interrupts",
)


def interrupted(here: Path, sign_of_work: str, *words: str) -> tuple[float, str]:
    """Start a command, send it Ctrl-C once a file shows that it works; seconds, and stderr."""
    process = subprocess.Popen(
        [COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here
    )
    try:
        patience = time.monotonic() + 60
        while not list(here.glob(sign_of_work)):
            assert process.poll() is None
            assert time.monotonic() < patience
            time.sleep(0.02)
        start = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        seconds = time.monotonic() - start
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    return seconds, err


@HEARS
@pytest.mark.parametrize("program", [ENDLESS, DEAF])
def test_an_interrupt_ends_with_130_in_five_seconds_and_leaves_nothing(program, here):
    Path("endless.py").write_text(program)
    words = ("simulate", "endless.py", "-o", "deep/o.parquet")
    seconds, err = interrupted(here, "deep/.o.parquet.*", *words)
    assert seconds < 5
    assert err == "interrupted: nothing was kept; the same command starts again.\n"
    assert set(tree(here)) == {"endless.py"}


@HEARS
@pytest.mark.slow
def test_an_interrupted_fit_says_from_where_the_same_command_goes_on(here):
    succeeds(f"simulate word_languages -n 60 {WORLD} -o t.pq")
    Path("own.py").write_text(UNKNOWN)
    words = ("fit", "own.py", "t.pq", "--method", "nuts", "--draws", "100000", "-o", "f.nc")
    _, err = interrupted(here, "f.state", *words, "--checkpoint", "f.state")
    assert err == (
        "interrupted: what was finished is kept in f.state; the same command goes on from there.\n"
    )
    assert not Path("f.nc").exists()


@HEARS
@pytest.mark.slow
def test_an_interrupted_extraction_says_from_where_the_same_command_goes_on(here, language_model):
    succeeds(f"simulate switching_languages -n 60 {WORLD} -o t.pq")
    again = ("extract", str(language_model), "t.pq", "--batch-tokens", "8", "-o", "states")
    seconds, err = interrupted(here, ".states.partial/journal", *again)
    assert seconds < 5
    assert err.startswith("interrupted: what was finished is kept in .states.partial; the same c")
    assert shell(*again).returncode == 0


def test_version():
    result = shell("--version")
    assert (result.returncode, result.stdout) == (0, f"concept-ppl {__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command):
    text = succeeds(f"{command} --help")
    assert text.startswith(f"Usage: concept-ppl {command}".rstrip())
    if command not in {"", "study", "models"}:
        assert all(option in text for option in ("--output", "--seed", "--device", "--force"))


def test_the_zoo_is_a_line_each():
    lines = succeeds("models").splitlines()
    names = [line.split()[0] for line in lines]
    assert {"word_languages", "switching_languages"} <= set(names)
    assert all(line.endswith(".") for line in lines)


def test_help_does_not_wait_for_torch():
    code = "import sys; from concept_ppl import cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_nobody_foresaw_is_a_traceback_and_not_bad_input(monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("concept_ppl.zoo.zoo", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        concept_ppl("models")


def test_an_interrupt_is_no_traceback(monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("concept_ppl.zoo.zoo", interrupt)
    assert concept_ppl("models").status == 130


def test_the_entry_point_is_what_the_package_declares():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="concept-ppl")
    assert entry.load() is cli.main
