"""States of a tiny language model against a posterior, from the files to the report."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concept_ppl import cli
from concept_ppl.bridge import States
from concept_ppl.reports import RESULT_COLUMNS


def run(command: str, monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", ["concept-ppl", *command.split()])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two sites: one an affine image of the log-odds, one noise."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    odds = rng.normal(size=(300, 2))
    logits = np.column_stack([np.zeros(300), odds])
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    table = pd.DataFrame(log_p, columns=[f"log_p.topic.{k}" for k in "abc"])
    table.to_parquet("posterior.parquet")
    exact = odds @ rng.normal(size=(2, 6)) + 0.01 * rng.normal(size=(300, 6)) + 3
    write_states("states", {"embedding.mean": rng.normal(size=(300, 6)), "final_norm": exact})
    write_states("noise", {"final_norm": rng.normal(size=(300, 6))})
    return tmp_path


def write_states(folder, arrays):
    arrays = {site: array.astype(np.float32) for site, array in arrays.items()}
    n = np.ones(300, np.int64)
    States(tuple(arrays), 6, n, {"name": "planted"}, arrays).save(folder, force=True)


def test_a_planted_affine_map_is_reported_as_one(folder, monkeypatch, capsys):
    command = "analyse states posterior.parquet -o report --control untrained=noise"
    assert run(command, monkeypatch) == 0
    assert capsys.readouterr().out.strip() == "report/index.html"
    page = Path("report/index.html").read_text()
    assert "Supported" in page
    results = pd.read_csv("report/results.csv")
    assert list(results.columns) == list(RESULT_COLUMNS)
    smallest = results[(results["quantity"] == "rho2_smallest") & (results["term"] == "log_odds")]
    assert (smallest["ci_low"] > 0.99).all()
    assert set(results["control"].dropna()) >= {"untrained", "shuffled", "bag of tokens, mean"}
    assert "states" in json.loads(Path("report/manifest.json").read_text())["inputs"]
    assert len(list(Path("report/figures").glob("*.svg"))) == 4


def test_noise_is_not_supported(folder, monkeypatch):
    assert run("analyse noise posterior.parquet -o report", monkeypatch) == 0
    assert "Not supported" in Path("report/index.html").read_text()


def test_states_that_are_not_finite_are_refused_by_row(folder, monkeypatch, capsys):
    from safetensors.numpy import load_file, save_file

    arrays = load_file("states/states.safetensors")
    arrays["final_norm"][7, 2] = np.nan
    save_file(arrays, "states/states.safetensors")
    assert run("analyse states posterior.parquet -o report", monkeypatch) == 2
    message = capsys.readouterr().err
    assert "final_norm" in message
    assert "7" in message
    assert not Path("report").exists()


def test_rows_that_do_not_match_and_infinite_log_odds_are_refused(folder, monkeypatch, capsys):
    table = pd.read_parquet("posterior.parquet")
    table.head(200).to_parquet("short.parquet")
    assert run("analyse states short.parquet -o report", monkeypatch) == 2
    assert "300 states" in capsys.readouterr().err
    table.iloc[4] = [-np.inf, 0.0, -np.inf]
    table.to_parquet("zeros.parquet")
    assert run("analyse states zeros.parquet -o report", monkeypatch) == 2
    assert "row 4" in capsys.readouterr().err
    assert not Path("report").exists()
