"""Studies of simulated worlds, small: cells are kept, the page says what it must."""

import json
import shutil

import pandas as pd
import pytest

from concept_ppl.errors import InputError

from .command_line import refused, succeeds

TINY = "study theory --worlds 1 --seeds 1 --steps 5 --workers 1 --seed 2"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder in which a tiny study was run."""
    folder = tmp_path_factory.mktemp("laboratory")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert succeeds(f"{TINY} -o deep/r") == "deep/r/index.html\n"
    return folder / "deep"


@pytest.mark.slow
def test_the_report_has_its_bars_controls_and_numbers(study):
    page = (study / "r" / "index.html").read_text()
    for words in ("Bars", "Linear, or learned", "untrained", "Error budget", "−∞"):
        assert words in page
    results = pd.read_csv(study / "r" / "results.csv")
    assert {"accuracy", "trained.rho2_smallest", "gap.share"} <= set(results["quantity"])
    manifest = json.loads((study / "r" / "manifest.json").read_text())
    assert manifest["arguments"]["extent"] == "quick"
    assert manifest["seeds"]["worlds"] == 2000


@pytest.mark.slow
def test_a_second_call_answers_nothing_and_writes_the_same_results(study, monkeypatch):
    def forbidden(settings):
        raise AssertionError("a finished cell was answered again")

    monkeypatch.setattr("concept_ppl.analyses.studies.laboratory.runs.measure", forbidden)
    monkeypatch.chdir(study)
    assert succeeds(f"{TINY} -o again --cells r.cells") == "again/index.html\n"
    for name in ("results.csv", "results.json"):
        assert (study / "again" / name).read_bytes() == (study / "r" / name).read_bytes()


@pytest.mark.slow
def test_a_cell_lost_and_answered_again_is_the_same_cell(study, monkeypatch):
    monkeypatch.chdir(study)
    lost = sorted((study / "r.cells").glob("*.json"))[0]
    before = lost.read_bytes()
    lost.unlink()
    succeeds(f"{TINY} -o anew --cells r.cells")
    assert lost.read_bytes() == before


@pytest.mark.slow
def test_a_cell_that_fails_is_recorded_and_the_report_says_so(study, monkeypatch):
    def fails(settings):
        raise InputError("the world is flat.")

    monkeypatch.chdir(study)
    shutil.copytree("r.cells", "f.cells")
    n = len(list(study.glob("f.cells/*.json")))
    sorted(study.glob("f.cells/*.json"))[0].unlink()
    with monkeypatch.context() as patch:
        patch.setattr("concept_ppl.analyses.studies.laboratory.runs.measure", fails)
        assert succeeds(f"{TINY} -o f") == "f/index.html\n"
    page = (study / "f" / "index.html").read_text()
    assert f"1 of {n} cells failed" in page
    assert "the world is flat." in page
    assert len(list(study.glob("f.cells/*.failed.json"))) == 1
    succeeds(f"{TINY} -o f --force")
    assert "cells failed" not in (study / "f" / "index.html").read_text()
    assert len(list(study.glob("f.cells/*"))) == n


def test_what_cannot_be_done_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "level is 2.0" in refused("study families -o r --level 2")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "work.txt").touch()
    assert "already exists" in refused("study theory -o r")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
