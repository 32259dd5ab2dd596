"""Bad input ends with exit status 2 and one sentence that says what and where; nothing is left."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from concept_ppl.bridge import States

from .command_line import concept_ppl, refused, succeeds, tree

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

def never_two(n_tokens):
    pyro.sample("c", dist.Bernoulli(0.4))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(torch.tensor([0.5, 0.5, 0.0])))

def broken(n_tokens):
    raise RuntimeError("no luck")
"""
N = 60


def write_states(folder: str, arrays: dict[str, np.ndarray]) -> None:
    arrays = {site: array.astype(np.float32) for site, array in arrays.items()}
    n_tokens = np.ones(len(next(iter(arrays.values()))), np.int64)
    States(tuple(arrays), 3, n_tokens, {"name": "noise"}, arrays).save(folder)


def spoil(folder: str, source: str, site: str, value: float) -> None:
    shutil.copytree(source, folder)
    arrays = load_file(f"{source}/{site}.safetensors")
    arrays[site][7, 2] = value
    save_file(arrays, f"{folder}/{site}.safetensors")


def write_posteriors() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.9, N)
    table = pd.DataFrame(np.log([1 - p, p]).T, columns=["log_p.c.0", "log_p.c.1"])
    table.to_parquet("p.parquet")
    table.head(20).to_parquet("short.parquet")
    table.assign(**{"log_p.c.1": math.log(0.5), "log_p.c.0": math.log(0.5)}).to_parquet(
        "constant.parquet"
    )
    table.assign(**{"log_p.c.1": "low"}).to_parquet("words.parquet")
    for name, row in {"infinite": (-math.inf, 0.0), "half": (-1.0, -1.0)}.items():
        spoiled = table.copy()
        spoiled.iloc[4] = row
        spoiled.to_parquet(f"{name}.parquet")


@pytest.fixture
def folder(here):
    """Files of every kind, good and bad."""
    Path("m.py").write_text(MODEL)
    Path("syntax.py").write_text("def model(:\n")
    Path("lines.py").write_text("raise ValueError('many\\nlines')\n")
    Path("nothing.py").write_text("x = 1\n")
    Path("exits.py").write_text("import sys\nsys.exit(0)\n")
    pd.DataFrame({"x": [[0, 1], []], "text": ["a b", ""]}).to_parquet("tokens.parquet")
    pd.DataFrame({"z": [1]}).to_parquet("other.parquet")
    pd.DataFrame({"x": [[0, 1], [2, 7]]}).to_parquet("outside.parquet")
    pd.DataFrame({"x": [[0, 1], [-4]]}).to_parquet("negative.parquet")
    pd.DataFrame({"x": [[0] * 40]}).to_parquet("forty.parquet")
    beyond = pa.array([[0], [2**63]], pa.list_(pa.uint64()))
    pq.write_table(pa.table({"x": beyond}), "beyond.parquet")
    pd.DataFrame({"x": [[0, 1], None]}).to_parquet("null.parquet")
    pd.DataFrame({"x": [[0.5]]}).to_parquet("half_tokens.parquet")
    pd.DataFrame({"text": ["en", None]}).to_parquet("null_text.parquet")
    pd.DataFrame({"text": ["en", "en " * 40]}).to_parquet("long_text.parquet")
    pq.write_table(pa.table({"x": pa.array([], pa.list_(pa.int64()))}), "no_rows.parquet")
    Path("empty.parquet").touch()
    Path("junk.gguf").write_bytes(b"GGUF" + bytes(range(64)))
    write_posteriors()
    rng = np.random.default_rng(1)
    noise = {site: rng.normal(size=(N, 3)) for site in ("embedding", "final_norm")}
    write_states("states", noise)
    write_states("three", {"final_norm": np.arange(N * 3).reshape(N, 3) // 3 % 3})
    write_states("flat", noise | {"final_norm": np.ones((N, 3))})
    write_states("bags", {"embedding.sum": noise["embedding"]})
    write_states("fewer", {"final_norm": noise["embedding"][:20]})
    spoil("nan", "states", "final_norm", np.nan)
    spoil("inf", "states", "embedding", np.inf)
    Path("mine").mkdir()
    Path("mine", "thesis.txt").write_text("years of work")
    return here


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("posterior m.py missing.parquet -o o.parquet", ["missing.parquet", "does not exist"]),
        ("posterior nowhere tokens.parquet -o o.parquet", ["nowhere", "word_languages"]),
        ("posterior n.py tokens.parquet -o o.parquet", ["n.py", "does not exist"]),
        ("posterior m.py:none tokens.parquet -o o.parquet", ["m.py", "none"]),
        ("posterior syntax.py tokens.parquet -o o.parquet", ["syntax.py", "line 1"]),
        ("posterior lines.py tokens.parquet -o o.parquet", ["lines.py", "many lines"]),
        ("posterior nothing.py tokens.parquet -o o.parquet", ["nothing.py", "model(n_tokens)"]),
        (
            "posterior m.py:broken tokens.parquet -o o.parquet",
            ["broken", "raise RuntimeError", "no luck"],
        ),
        ("posterior m.py other.parquet -o o.parquet", ["other.parquet", "no column x", "z"]),
        ("posterior m.py outside.parquet -o o.parquet", ["outside.parquet", "row 1", "token 7"]),
        ("posterior m.py negative.parquet -o o.parquet", ["negative.parquet", "row 1", "-4"]),
        ("posterior m.py null.parquet -o o.parquet", ["null.parquet", "row 1", "empty list"]),
        ("posterior m.py half_tokens.parquet -o o.parquet", ["lists of integers", "double"]),
        ("posterior m.py empty.parquet -o o.parquet", ["empty.parquet", "not a readable"]),
        ("posterior m.py m.py -o o.parquet", ["m.py", "not a readable"]),
        ("posterior m.py no_rows.parquet -o o.parquet", ["no_rows.parquet", "no rows"]),
        (
            "posterior m.py:never_two outside.parquet -o o.parquet",
            ["outside.parquet", "row 1", "token 7"],
        ),
        ("posterior m.py:uncertain tokens.parquet -o o.parquet", ["'rate'", "-p rate="]),
        ("posterior m.py:off tokens.parquet -o o.parquet", ["'x'", "sums to 0.9"]),
        ("posterior m.py tokens.parquet -o o.parquet -p rate=1", ["'rate'", "leave out"]),
        ("posterior m.py tokens.parquet -o o.parquet -p rate", ["'rate'", "key=value"]),
        ("posterior m.py tokens.parquet -o o.parquet --memory 10", ["bytes", "memory"]),
        (
            "posterior concept_tree forty.parquet -o o.parquet -p concepts=40 --joint",
            ["concept_tree", "1,099,511,627,776 joint values", "bytes", "leave out the joint"],
        ),
        ("posterior m.py beyond.parquet -o o.parquet", ["row 1", "9223372036854775808", "2^63"]),
        ("posterior m.py mine -o o.parquet", ["mine is a folder", "Parquet"]),
        ("posterior exits.py tokens.parquet -o o.parquet", ["exits.py", "line 2", "sys.exit"]),
        ("posterior m.py tokens.parquet -o o.parquet --device cuda:9", ["cuda:9", "cpu"]),
        ("simulate word_languages -o o.parquet -p top=9 -p a=b", ["'a'", "languages"]),
        ("simulate word_languages -o o.parquet -p top=abc", ["'top'", "a number", "'abc'"]),
        ("simulate word_languages -o o.parquet -p languages=en", ["'languages'", "a list", "'en'"]),
        ("simulate concept_dag -o o.parquet -p cardinalities=2,0", ["cardinalities", "(2, 0)"]),
        ("simulate word_languages -o o.parquet -p top=0", ["top", "at least 1"]),
        ("simulate word_languages -o o.parquet -p languages=en,xx", ["'xx'", "en"]),
        ("simulate switching_languages -o o.parquet -p switch=2", ["switch", "probability"]),
        ("simulate m.py -o o.parquet --lengths 5-x", ["5-x"]),
        ("simulate m.py -o o.parquet --lengths 5-2", ["5 to 2"]),
        ("extract a/b.gguf tokens.parquet -o s", ["a/b.gguf", "does not exist"]),
        ("extract junk.gguf tokens.parquet -o s", ["junk.gguf", "GGUF"]),
        ("extract ./nowhere tokens.parquet -o s", ["./nowhere", "does not exist"]),
        ("extract mine tokens.parquet -o s", ["mine", "config.json"]),
        ("extract junk.gguf tokens.parquet -o s --revision v1", ["'v1'", "junk.gguf", "leave"]),
        ("extract mine tokens.parquet -o s --revision v1", ["'v1'", "mine", "leave"]),
        ("extract smollm2 other.parquet -o s", ["other.parquet", "no column text", "z"]),
        ("analyse nowhere p.parquet -o r", ["nowhere", "extract"]),
        ("analyse mine p.parquet -o r", ["mine", "manifest.json"]),
        ("analyse states missing.parquet -o r", ["missing.parquet", "does not exist"]),
        ("analyse states tokens.parquet -o r", ["tokens.parquet", "no posterior file"]),
        (
            "analyse states half.parquet -o r",
            ["half.parquet", "row 4", "sums to 0.7", "logarithms"],
        ),
        ("analyse states words.parquet -o r", ["words.parquet", "log_p.c.1", "not numbers"]),
        ("analyse states short.parquet -o r", ["states", "60", "short.parquet", "20"]),
        ("analyse states infinite.parquet -o r", ["infinite.parquet, row 4", "c.1:0", "zeros"]),
        ("analyse states constant.parquet -o r", ["constant.parquet", "c.1:0", "same in every"]),
        ("analyse nan p.parquet -o r", ["nan/final_norm.safetensors", "final_norm", "row 7"]),
        ("analyse inf p.parquet -o r", ["inf/embedding.safetensors", "embedding", "row 7"]),
        ("analyse flat p.parquet -o r", ["final_norm", "the same for every context"]),
        ("analyse three p.parquet -o r", ["three", "3 distinct contexts", "5 folds"]),
        ("analyse bags p.parquet -o r", ["bags", "pooled"]),
        ("analyse states p.parquet -o r --site resid.9", ["states", "resid.9", "final_norm"]),
        ("analyse states p.parquet -o r --level 95", ["95", "between 0 and 1"]),
        ("analyse states p.parquet -o r --control bags", ["'bags'", "name=path"]),
        ("analyse states p.parquet -o r --control b=nowhere", ["nowhere", "does not exist"]),
        ("analyse states p.parquet -o r --control b=bags", ["bags", "final_norm"]),
        ("analyse states p.parquet -o r --control b=fewer", ["fewer", "20", "60"]),
        ("analyse states p.parquet -o r --control b=nan", ["nan/final_norm.safetensors", "row 7"]),
        ("study language -o r --languages en,xx", ["'xx'", "wordfreq"]),
        ("study language -o r --languages en", ["two or more"]),
        ("study language -o r --level 2", ["2.0", "between 0 and 1"]),
        ("study language -o deep/r -n 50 --model ./nowhere", ["nowhere"]),
    ],
)
def test_one_sentence_and_nothing_left(command, words, folder):
    before = tree(folder)
    message = refused(command)
    assert all(word in message for word in words), message
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("long_text.parquet -o s", ["long_text.parquet", "Row 1", "32"]),
        ("null_text.parquet -o s", ["null_text.parquet", "Row 1"]),
        ("tokens.parquet -o s --layers resid.9", ["'resid.9'", "resid.2"]),
        ("tokens.parquet -o s --device cuda:9", ["cuda:9", "cpu"]),
        ("tokens.parquet -o s --layers ,", ["No site"]),
    ],
)
def test_texts_and_sites_that_a_model_cannot_read(options, words, folder, language_model):
    before = tree(folder)
    message = refused(f"extract '{language_model}' {options}")
    assert all(word in message for word in words), message
    assert tree(folder) == before


def test_a_hub_id_that_cannot_be_had(folder, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refused("extract nobody/nothing tokens.parquet -o s")
    assert "nobody/nothing" in message
    assert "smollm2" in message


@pytest.mark.parametrize(
    "command",
    [
        "simulate m.py -n 3 -o {}",
        "posterior m.py tokens.parquet -o {}",
        "extract ./nowhere tokens.parquet -o {}",
        "analyse states p.parquet -o {}",
        "study language -o {}",
    ],
)
@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("m.py/out", ["m.py/out", "m.py is no folder"]),
        ("m.py/deep/out", ["m.py/deep/out", "m.py is no folder"]),
        ("a" * 300, ["aaa", "File name too long"]),
        ("states", ["states"]),
        ("tokens.parquet", ["tokens.parquet"]),
    ],
)
def test_an_output_that_cannot_be_written(command, output, words, folder):
    before = tree(folder)
    message = refused(command.format(output))
    assert all(word in message for word in words), message
    assert tree(folder) == before


@pytest.mark.parametrize(
    "command",
    [
        "extract ./nowhere tokens.parquet -o mine",
        "analyse states p.parquet -o mine",
        "study language -o mine",
    ],
)
def test_force_replaces_no_folder_of_another_kind(command, folder):
    before = tree(folder)
    assert "already exists; pass --force" in refused(command)
    assert "--force does not replace it" in refused(f"{command} --force")
    assert tree(folder) == before


def test_a_refused_run_with_force_keeps_the_old_output(folder):
    succeeds("posterior m.py tokens.parquet -o o.parquet")
    succeeds("analyse states p.parquet -o r")
    before = tree(folder)
    refused("posterior m.py outside.parquet -o o.parquet --force")
    refused("analyse nan p.parquet -o r --force")
    assert tree(folder) == before


@pytest.mark.parametrize(
    "command",
    [
        "simulate m.py -n 0 -o o.parquet",
        "simulate m.py -n many -o o.parquet",
        "simulate m.py --seed -1 -o o.parquet",
        "simulate m.py --seed 4294967296 -o o.parquet",
        "posterior m.py tokens.parquet",
        "posterior m.py tokens.parquet -o o.parquet --wrong",
        "study language -n 3 -o r",
        "study nothing -o r",
        "nothing",
    ],
)
def test_a_wrong_option_is_told_with_the_way_to_help(command, folder):
    before = tree(folder)
    outcome = concept_ppl(command)
    assert outcome.status == 2
    assert outcome.out == ""
    assert "--help' for help" in outcome.err
    assert tree(folder) == before


def test_an_empty_context_has_the_prior_and_a_zero_stays_a_zero(folder):
    succeeds("posterior m.py tokens.parquet -o o.parquet")
    table = pd.read_parquet("o.parquet")
    assert table["log_p.c.1"][0] == -math.inf
    assert math.isclose(table["log_p.c.1"][1], math.log(0.4), abs_tol=1e-12)
    assert table["log_evidence"][1] == 0


def test_a_continuous_latent_with_its_value_is_a_number(folder):
    succeeds("posterior m.py tokens.parquet -o o.parquet")
    succeeds("posterior m.py:uncertain tokens.parquet -o p.parquet -p rate=0.4 --force")
    pd.testing.assert_frame_equal(pd.read_parquet("o.parquet"), pd.read_parquet("p.parquet"))


def test_an_impossible_context_is_named_by_file_and_row(folder):
    pd.DataFrame({"x": [[0, 1], [0, 2]]}).to_parquet("never.parquet")
    message = refused("posterior m.py:never_two never.parquet -o deep/o.parquet")
    assert "never.parquet" in message
    assert "row 1" in message
    assert not Path("deep").exists()
    assert "position 1, token 2" in message
    assert "--impossible mark" in message


def test_an_impossible_context_is_marked_on_request(folder):
    pd.DataFrame({"x": [[0, 1], [0, 2]]}).to_parquet("never.parquet")
    succeeds("posterior m.py:never_two never.parquet -o o.parquet --impossible mark")
    table = pd.read_parquet("o.parquet")
    assert np.isneginf(table["log_evidence"]).tolist() == [False, True]
    assert np.isneginf(table[["log_p.c.0", "log_p.c.1"]]).to_numpy().all(1).tolist() == [
        False,
        True,
    ]
    assert math.isclose(table["log_p.c.1"][0], math.log(0.4), abs_tol=1e-12)


def test_a_refusal_does_not_list_a_thousand_columns(folder):
    pd.DataFrame({f"column_{n}": [1] for n in range(1_000)}).to_parquet("wide.parquet")
    for command in ("posterior m.py wide.parquet -o o.parquet", "extract m wide.parquet -o s"):
        message = refused(command)
        assert "column_9 and 990 more" in message
        assert len(message) < 300
