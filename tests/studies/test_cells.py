"""A cell is answered once, whoever asks; a killed study goes on and ends with the same bytes."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from concept_ppl.analyses.studies.laboratory.cells import Cell, Shard, answer_cells, read_cells
from concept_ppl.errors import InputError

PLAN = [Cell({"world": w, "seed": s, "knob": 0.1}, f"{w}/{s}") for w in range(3) for s in range(2)]


def third(settings):
    return {"third": settings["world"] / 3, "none": math.nan, "word": "yes"}


def forbidden(settings):
    raise AssertionError(f"{settings} was answered twice")


def fails(settings):
    raise InputError("the world is flat.")


def test_numbers_come_back_bit_for_bit(tmp_path):
    assert answer_cells(PLAN, third, tmp_path, n_workers=1) == 6
    rows = read_cells(PLAN, tmp_path)
    assert [row["third"] for row in rows] == [0.0, 0.0, 1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert all(math.isnan(row["none"]) and row["word"] == "yes" for row in rows)
    assert rows[0]["knob"] == 0.1


def test_finished_cells_are_not_answered_again(tmp_path):
    answer_cells(PLAN[:4], third, tmp_path, n_workers=1)
    assert answer_cells(PLAN[:4], forbidden, tmp_path, n_workers=1) == 0
    assert answer_cells(PLAN, third, tmp_path, n_workers=1) == 2


def test_a_cell_with_another_setting_or_of_another_version_is_another_cell(monkeypatch):
    one = Cell({"seed": 1, "knob": 0.1}, "a")
    assert one.digest == Cell({"knob": 0.1, "seed": 1}, "b").digest
    assert one.digest != Cell({"seed": 1, "knob": 0.1 + 1e-15}, "a").digest
    monkeypatch.setattr("concept_ppl.analyses.studies.laboratory.cells.version", lambda _: "9.9")
    assert one.digest != Cell({"seed": 1, "knob": 0.1}, "a").digest


def test_shards_are_the_plan_and_keep_world_and_seed_together(tmp_path):
    plan = [*PLAN, *(Cell({**cell.settings, "knob": 0.2}, cell.unit) for cell in PLAN)]
    parts = [Shard(i, 4).of(plan) for i in (1, 2, 3, 4)]
    assert sorted(cell.digest for part in parts for cell in part) == sorted(
        cell.digest for cell in plan
    )
    units = [{cell.unit for cell in part} for part in parts]
    assert sum(map(len, units)) == len(set.union(*units))
    for part in parts[:3]:
        answer_cells(part, third, tmp_path, n_workers=1)
    with pytest.raises(InputError, match="2 of 12 cells are missing"):
        read_cells(plan, tmp_path)


def test_a_cell_that_cannot_be_answered_stops_the_study_and_leaves_no_file(tmp_path):
    with pytest.raises(InputError, match="the world is flat"):
        answer_cells(PLAN, fails, tmp_path, n_workers=1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_cell_or_no_shard_is_refused(tmp_path):
    answer_cells(PLAN, third, tmp_path, n_workers=1)
    (tmp_path / f"{PLAN[0].digest}.json").write_text("{}")
    with pytest.raises(InputError, match="is no cell of a study"):
        read_cells(PLAN, tmp_path)
    stored = json.loads((tmp_path / f"{PLAN[1].digest}.json").read_text())
    stored["settings"]["seed"] = 7
    (tmp_path / f"{PLAN[1].digest}.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match="other settings"):
        read_cells(PLAN[1:], tmp_path)
    assert Shard.parse("2/5") == Shard(2, 5)
    for text in ("0/3", "4/3", "x", "1", "1/0"):
        with pytest.raises(InputError, match="shard"):
            Shard.parse(text)


SCRIPT = """
import signal
import sys
import time
from pathlib import Path
from concept_ppl.analyses.studies.laboratory.cells import Cell, answer_cells

def slow(settings):
    time.sleep(0.4)
    return {"answer": settings["seed"] / 7}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = [Cell({"seed": s}, str(s)) for s in range(8)]
    answer_cells(plan, slow, Path("cells"), n_workers=int(sys.argv[1]))
"""


def files(folder: Path) -> dict[str, bytes]:
    finished = (folder / "cells").glob("[!.]*.json")
    return {path.name: path.read_bytes() for path in finished}


@pytest.mark.slow
def test_a_killed_study_stops_its_workers_and_goes_on_to_the_same_bytes(tmp_path):
    script, whole, part = tmp_path / "script.py", tmp_path / "whole", tmp_path / "part"
    script.write_text(SCRIPT)
    whole.mkdir()
    part.mkdir()
    subprocess.run([sys.executable, script, "1"], cwd=whole, check=True)
    killed = subprocess.Popen([sys.executable, script, "2"], cwd=part)
    while len(files(part)) < 2:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    time.sleep(1.5)
    left = files(part)
    assert 2 <= len(left) < 8
    time.sleep(1.5)
    assert files(part) == left
    subprocess.run([sys.executable, script, "2"], cwd=part, check=True)
    assert files(part) == files(whole)


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_an_interrupted_study_ends_at_once_with_its_workers(whole_group, tmp_path):
    """A terminal sends Ctrl-C to the workers too, which are deaf to it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("sleep(0.4)", "sleep(0.4 if settings['seed'] < 2 else 60)"))
    study = subprocess.Popen(
        [sys.executable, script, "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(files(tmp_path)) < 2:
        assert study.poll() is None
        time.sleep(0.05)
    children = psutil.Process(study.pid).children(recursive=True)
    workers = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    assert len(workers) == 2
    (os.killpg if whole_group else os.kill)(study.pid, signal.SIGINT)
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    _, err = study.communicate(timeout=60)
    assert study.returncode != 0
    assert err.count("Traceback") == 1
    assert len(files(tmp_path)) == 2
