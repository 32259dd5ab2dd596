"""The study from the command line, small: looks are kept, lost ones missed, bad input refused."""

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from .command_line import refused, succeeds

TINY = (
    "study adaptation codebook -p names=2 -p noise=0.1 -p lengths=3,7 --steps 6 --batch 8 "
    "--looks 2 -n 200 --workers 1"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder in which a tiny study was run."""
    folder = tmp_path_factory.mktemp("adaptation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert succeeds(f"{TINY} -o r") == "r/index.html\n"
    return folder


@pytest.mark.slow
def test_the_report_has_its_looks_controls_and_numbers(study):
    page = (study / "r" / "index.html").read_text()
    for words in ("Against the predictor gap", "Look by look", "untrained network", "shuffled"):
        assert words in page
    results = pd.read_csv(study / "r" / "results.csv")
    assert {"predictor_gap", "r2_backward", "rho2_smallest", "mass"} <= set(results["quantity"])
    terms = set(results["term"])
    assert {"world, seed 0, step 0", "world, seed 0, step 6", "exchanged, seed 0, step 6"} <= terms
    manifest = json.loads((study / "r" / "manifest.json").read_text())
    assert manifest["arguments"]["recipe"]["steps"] == 6
    assert manifest["language_model"]["digest"]


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_writes_the_same_results(study, monkeypatch):
    def forbidden(*_args, **_options):
        raise AssertionError("a finished training went on")

    monkeypatch.setattr("concept_ppl.analyses.studies.adaptation.trainings.adapt", forbidden)
    monkeypatch.chdir(study)
    assert succeeds(f"{TINY} -o again --cells r.cells") == "again/index.html\n"
    for name in ("results.csv", "results.json"):
        assert (study / "again" / name).read_bytes() == (study / "r" / name).read_bytes()


@pytest.mark.slow
def test_trainings_on_processes_of_their_own_give_the_same_results(study, monkeypatch):
    monkeypatch.chdir(study)
    assert succeeds(f"{TINY.replace('--workers 1', '--workers 2')} -o side") == "side/index.html\n"
    assert (study / "side" / "results.csv").read_bytes() == (study / "r/results.csv").read_bytes()
    looks = {path.name: path.read_bytes() for path in (study / "r.cells").glob("*.json")}
    assert looks == {path.name: path.read_bytes() for path in (study / "side.cells").glob("*.json")}


@pytest.mark.slow
def test_a_look_that_was_lost_is_taken_again_or_missed(study, monkeypatch):
    monkeypatch.chdir(study)
    cells = study / "r.cells"
    stored = {path: json.loads(path.read_text()) for path in cells.glob("*.json")}
    by_step = {
        (one["settings"]["kind"], one["settings"]["step"]): path for path, one in stored.items()
    }
    last, first = by_step["world", 6], by_step["world", 0]
    before = last.read_bytes(), first.read_bytes()
    last.unlink()
    succeeds(f"{TINY} -o anew --cells r.cells")
    assert last.read_bytes() == before[0]
    first.unlink()
    assert "step 0 of world texts, seed 0 was lost" in refused(f"{TINY} -o more --cells r.cells")
    (cells / f"{last.stem}.safetensors").unlink()
    succeeds(f"{TINY} -o more --cells r.cells")
    assert (last.read_bytes(), first.read_bytes()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("codebook --learning-rate=-1", "learning_rate must be positive"),
        ("codebook --batch 100000", "batch 1 to 16,384"),
        ("hidden_concepts", "gives its tokens no text"),
        ("no_world", "no_world"),
        ("codebook no-such-model-at-all", "no-such-model-at-all"),
        ("codebook --device cuda:7", "device 'cuda:7' is not available"),
    ],
)
def test_bad_input_is_one_sentence_before_any_step(here, options, message):
    assert message in refused(f"study adaptation {options} -o r")
    assert not (here / "r").exists()


def test_a_disk_without_room_is_refused_before_any_step(here, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    message = refused(f"{TINY} -o r")
    assert message.startswith("r.cells needs ")
    assert "make room" in message
    assert list(here.iterdir()) == []
