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

from concept_ppl.analyses.studies.laboratory import cells
from concept_ppl.analyses.studies.laboratory.cells import Cell, in_environment, read_cells
from concept_ppl.distributed import Machines, Store, environment, hired
from concept_ppl.errors import InputError

PLAN = [Cell({"world": w, "seed": s, "knob": 0.1}) for w in range(3) for s in range(2)]


def answer_cells(plan, measure, folder):
    with hired(Machines(1)) as crew:
        return cells.answer_cells(plan, measure, Store(folder), crew)


def third(settings):
    return {"third": settings["world"] / 3, "none": math.nan, "word": "yes"}


def forbidden(settings):
    raise AssertionError(f"{settings} was answered twice")


def fails(settings):
    raise InputError("the world is flat.")


def test_numbers_come_back_bit_for_bit(tmp_path):
    assert answer_cells(PLAN, third, tmp_path) == (6, [])
    rows = read_cells(PLAN, Store(tmp_path))
    assert [row["third"] for row in rows] == [0.0, 0.0, 1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert all(math.isnan(row["none"]) and row["word"] == "yes" for row in rows)
    assert rows[0]["knob"] == 0.1


def test_finished_cells_are_not_answered_again(tmp_path):
    answer_cells(PLAN[:4], third, tmp_path)
    assert answer_cells(PLAN[:4], forbidden, tmp_path) == (0, [])
    assert answer_cells(PLAN, third, tmp_path) == (2, [])


def test_cells_may_lie_wherever_fsspec_reaches():
    store = Store("memory://study/cells")
    with hired(Machines(1)) as crew:
        assert cells.answer_cells(PLAN[:4], third, store, crew) == (4, [])
        assert cells.answer_cells(PLAN, third, store, crew) == (2, [])
    assert [row["third"] for row in read_cells(PLAN, store)][::2] == [0.0, 1 / 3, 2 / 3]
    with pytest.raises(InputError, match="nowhere://cells cannot be reached"):
        Store("nowhere://cells").names()


def test_a_cell_with_another_setting_or_in_another_environment_is_another_cell():
    one = Cell({"seed": 1, "knob": 0.1})
    assert one.digest == Cell({"knob": 0.1, "seed": 1}).digest
    assert one.digest != Cell({"seed": 1, "knob": 0.1 + 1e-15}).digest
    assert {"concept-ppl", "torch", "processor"} <= environment().keys()
    for name in ("concept-ppl", "torch", "processor"):
        [other] = in_environment([one], {**environment(), name: "another"})
        assert other.digest != one.digest


def fails_in_world_1(settings):
    if settings["world"] == 1:
        raise InputError("the world is flat.")
    return third(settings)


def test_a_cell_that_fails_leaves_a_record_and_the_others_finish(tmp_path):
    done, failed = answer_cells(PLAN, fails_in_world_1, tmp_path)
    assert done == 4
    assert {one.cell.settings["seed"] for one in failed} == {0, 1}
    for one in failed:
        assert one.failure.reason == "the world is flat."
        record = json.loads((tmp_path / f"{one.cell.digest}.failed.json").read_text())
        assert record["settings"] == one.cell.settings
        assert "fails_in_world_1" in record["error"]["traceback"]
    with pytest.raises(InputError, match="2 of 6 cells are missing"):
        read_cells(PLAN, Store(tmp_path))
    assert answer_cells(PLAN, third, tmp_path) == (2, [])
    assert len(list(tmp_path.iterdir())) == len(read_cells(PLAN, Store(tmp_path))) == 6


def test_what_is_no_cell_is_refused(tmp_path):
    answer_cells(PLAN, third, tmp_path)
    (tmp_path / f"{PLAN[0].digest}.json").write_text("{}")
    with pytest.raises(InputError, match="is no cell of a study"):
        read_cells(PLAN, Store(tmp_path))
    stored = json.loads((tmp_path / f"{PLAN[1].digest}.json").read_text())
    stored["settings"]["seed"] = 7
    (tmp_path / f"{PLAN[1].digest}.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match="other settings"):
        read_cells(PLAN[1:], Store(tmp_path))


SCRIPT = """
import signal
import sys
import time
from pathlib import Path
from concept_ppl.analyses.studies.laboratory.cells import Cell, answer_cells
from concept_ppl.distributed import Machines, Store, hired

def slow(settings):
    time.sleep(0.4)
    return {"answer": settings["seed"] / 7}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = [Cell({"seed": s}) for s in range(8)]
    with hired(Machines(int(sys.argv[1]))) as crew:
        answer_cells(plan, slow, Store("cells"), crew)
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
