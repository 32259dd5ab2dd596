"""States of a tiny language model against a posterior, from the files to the report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concept_ppl.bridge import States
from concept_ppl.reports import RESULT_COLUMNS

from .command_line import succeeds


@pytest.fixture
def folder(here):
    """Two sites: one an affine image of the log-odds, one noise."""
    rng = np.random.default_rng(0)
    odds = rng.normal(size=(300, 2))
    logits = np.column_stack([np.zeros(300), odds])
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    table = pd.DataFrame(log_p, columns=[f"log_p.topic.{k}" for k in "abc"])
    table.to_parquet("posterior.parquet")
    exact = odds @ rng.normal(size=(2, 6)) + 0.01 * rng.normal(size=(300, 6)) + 3
    write_states("states", {"embedding.mean": rng.normal(size=(300, 6)), "final_norm": exact})
    write_states("noise", {"final_norm": rng.normal(size=(300, 6))})
    return here


def write_states(folder, arrays):
    arrays = {site: array.astype(np.float32) for site, array in arrays.items()}
    n = np.ones(300, np.int64)
    States(tuple(arrays), 6, n, {"name": "planted"}, arrays).save(folder, force=True)


def test_a_planted_affine_map_is_reported_as_one(folder):
    command = "analyse states posterior.parquet -o report --control untrained=noise"
    assert succeeds(command) == "report/index.html\n"
    page = Path("report/index.html").read_text()
    # What knows the order of tokens was not asked, so that nothing is called learned.
    assert "Partly" in page
    assert "readers of the order of tokens were not asked" in page
    results = pd.read_csv("report/results.csv")
    assert list(results.columns) == list(RESULT_COLUMNS)
    smallest = results[(results["quantity"] == "rho2_smallest") & (results["term"] == "log_odds")]
    assert (smallest["ci_low"] > 0.99).all()
    assert set(results["control"].dropna()) >= {"untrained", "shuffled", "bag of tokens, mean"}
    assert "states" in json.loads(Path("report/manifest.json").read_text())["inputs"]
    assert len(list(Path("report/figures").glob("*.svg"))) == 5


def test_noise_is_not_supported(folder):
    succeeds("analyse noise posterior.parquet -o report")
    assert "Not supported" in Path("report/index.html").read_text()
