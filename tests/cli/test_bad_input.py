"""Bad input ends with exit status 2 and one sentence that says what and where; nothing is left."""

import math
import sys
from pathlib import Path

import pandas as pd
import pytest

from concept_ppl import cli

MODEL = """
import pyro, pyro.distributions as dist, torch
from pyro.ops.indexing import Vindex

WORDS = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.2, 0.8]])

def model(n_tokens):
    c = pyro.sample("c", dist.Bernoulli(0.4)).long()
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(WORDS)[c]))

def uncertain(n_tokens):
    rate = pyro.sample("rate", dist.Beta(1.0, 1.0))
    c = pyro.sample("c", dist.Bernoulli(rate)).long()
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(WORDS)[c]))

def off(n_tokens):
    c = pyro.sample("c", dist.Bernoulli(0.4)).long()
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(0.9 * WORDS)[c]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(MODEL)
    pd.DataFrame({"x": [[0, 1], []], "text": ["a b", ""]}).to_parquet("tokens.parquet")
    pd.DataFrame({"z": [1]}).to_parquet("other.parquet")
    pd.DataFrame({"x": [[0, 1], [2, 7]]}).to_parquet("outside.parquet")
    pd.DataFrame({"x": pd.Series([], dtype=object)}).to_parquet("no_rows.parquet")
    Path("empty.parquet").touch()
    return tmp_path


def run(command: str, monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", ["concept-ppl", *command.split()])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("posterior m.py missing.parquet -o o.parquet", ["missing.parquet", "does not exist"]),
        ("posterior nowhere tokens.parquet -o o.parquet", ["nowhere", "word_languages"]),
        ("posterior n.py tokens.parquet -o o.parquet", ["n.py", "does not exist"]),
        ("posterior m.py other.parquet -o o.parquet", ["other.parquet", "no column x"]),
        ("posterior m.py outside.parquet -o o.parquet", ["outside.parquet", "row 1", "token 7"]),
        ("posterior m.py empty.parquet -o o.parquet", ["empty.parquet", "not a readable"]),
        ("posterior m.py no_rows.parquet -o o.parquet", ["no_rows.parquet", "no rows"]),
        ("posterior m.py:uncertain tokens.parquet -o o.parquet", ["'rate'", "-p rate="]),
        ("posterior m.py:off tokens.parquet -o o.parquet", ["'x'", "sums to 0.9"]),
        ("posterior m.py tokens.parquet -o m.py/o.parquet", ["m.py is no folder"]),
        ("posterior m.py tokens.parquet -o other.parquet", ["already exists", "--force"]),
        ("posterior m.py tokens.parquet -o o.parquet --device cuda:9", ["cuda:9"]),
        ("simulate word_languages -o o.parquet -p top=9 -p a=b", ["'a'", "languages"]),
        ("simulate word_languages -o o.parquet -p languages=en,xx", ["'xx'"]),
        ("simulate m.py -o o.parquet --lengths 5-x", ["5-x"]),
        ("extract a/b.gguf tokens.parquet -o states", ["a/b.gguf"]),
        ("extract smollm2 other.parquet -o states", ["no column text"]),
        ("analyse nowhere tokens.parquet -o report", ["nowhere"]),
        ("study language -o report --world foo", ["'foo'", "switching"]),
    ],
)
def test_one_sentence_and_nothing_left(command, words, folder, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(command, monkeypatch) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ")
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_empty_context_has_the_prior_and_a_zero_stays_a_zero(folder, monkeypatch):
    assert run("posterior m.py tokens.parquet -o o.parquet", monkeypatch) == 0
    table = pd.read_parquet("o.parquet")
    assert table["log_p.c.1"][0] == -math.inf
    assert math.isclose(table["log_p.c.1"][1], math.log(0.4), abs_tol=1e-12)
    assert run("posterior m.py:uncertain tokens.parquet -o p.parquet -p rate=0.4", monkeypatch) == 0
    pd.testing.assert_frame_equal(table, pd.read_parquet("p.parquet"))


def test_a_seed_makes_the_same_file_and_force_replaces_it(folder, monkeypatch):
    assert run("simulate m.py -n 20 -o a.parquet --seed 3", monkeypatch) == 0
    first = pd.read_parquet("a.parquet")
    assert run("simulate m.py -n 20 -o a.parquet --seed 3 --force", monkeypatch) == 0
    pd.testing.assert_frame_equal(first, pd.read_parquet("a.parquet"))
    assert run("simulate m.py -n 20 -o a.parquet --seed 4 --force", monkeypatch) == 0
    assert not first.equals(pd.read_parquet("a.parquet"))


def test_version_and_zoo(monkeypatch, capsys):
    assert run("--version", monkeypatch) == 0
    assert run("models", monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "concept-ppl 0.1.0" in printed
    assert "switching_languages  Words whose" in printed
