"""On a real cluster of several nodes on this machine: who works changes no byte, nor who dies."""

import os
import signal
import subprocess
import sys
import time

import pytest

from concept_ppl.analyses.studies.laboratory.cells import Cell, answer_cells, in_environment
from concept_ppl.distributed import Machines, Store, answers, hired
from concept_ppl.errors import InputError

pytestmark = pytest.mark.slow
PLAN = [Cell({"world": world}) for world in range(12)]


def slow_third():
    """Return a function that travels by value: the nodes do not have this file."""

    def measure(settings):
        import time

        time.sleep(0.3)
        return {"third": settings["world"] / 3}

    return measure


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def test_a_node_killed_in_the_middle_changes_no_byte(cluster, tmp_path):
    with hired(Machines()) as crew:
        answer_cells(PLAN, slow_third(), Store(tmp_path / "here"), crew)
    doomed = cluster.add_node(**cluster.node)
    killed = []

    def progress(done, total):
        if done == 4 and not killed:
            killed.append(doomed)
            cluster.remove_node(doomed, allow_graceful=False)

    with hired(Machines(ray=cluster.address)) as crew:
        assert len(crew.nodes()) == 2
        plan = in_environment(PLAN, crew.environment)
        there = Store(tmp_path / "there")
        done = answer_cells(plan, slow_third(), there, crew, progress=progress)
    assert killed
    assert done == (12, [])
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_what_fails_or_kills_its_worker_each_time_is_reported_and_the_others_finish(cluster):
    def prepare():
        def ask(number):
            import os

            if number == 1:
                raise ValueError("one is odd")
            if number == 2:
                os.kill(os.getpid(), 9)
            return number

        return ask

    with hired(Machines(ray=cluster.address)) as crew:
        found = {answer.index: answer for answer in answers(crew, prepare, range(5))}
    assert [found[i].value for i in (0, 3, 4)] == [0, 3, 4]
    assert found[1].failure.reason == "ValueError: one is odd"
    assert "its worker on node" in found[2].failure.reason
    assert " died" in found[2].failure.reason


def test_a_node_that_lacks_the_package_or_has_another_is_left_out_in_a_sentence(cluster, tmp_path):
    site = tmp_path / "sitecustomize.py"
    site.write_text("import sys; sys.modules['concept_ppl'] = None")
    cluster.add_node(**cluster.node, env_vars={"PYTHONPATH": str(tmp_path)})
    said = []
    with hired(Machines(ray=cluster.address, announce=said.append)) as crew:
        assert len(crew.nodes()) == 1
        crew.environment = {**crew.environment, "torch": "1.0"}
        with pytest.raises(
            InputError, match=r"no worker can do this: numbers would differ .*torch"
        ):
            list(answers(crew, lambda: abs, [1]))
    assert len(said) == 2
    assert "the package concept-ppl is missing or broken there" in said[0]


def test_workers_that_need_a_gpu_go_where_gpus_are_and_have_one_each(cluster):
    """Ray takes our word for the GPUs; what it hands out is what a real one would be known by."""
    cluster.add_node(**{**cluster.node, "num_cpus": 3}, num_gpus=2)

    def prepare():
        import os

        own = os.environ["CUDA_VISIBLE_DEVICES"]
        return lambda _: __import__("time").sleep(1) or own

    with hired(Machines(ray=cluster.address, gpus=1.0)) as crew:
        assert list(crew.nodes().values()) == [2]
        found = {answer.value for answer in answers(crew, prepare, range(8))}
    assert found == {"0", "1"}


DRIVER = """
import sys, time
from concept_ppl.distributed import Machines, Part, Store, finish, hired

def prepare():
    def ask(number):
        time.sleep(0.5)
        return {f"{number}.txt": str(number / 7).encode()}
    return ask

with hired(Machines(ray=sys.argv[1])) as crew:
    parts = [Part((f"{number}.txt",), number) for number in range(8)]
    print(finish(parts, Store("parts"), crew, prepare))
"""


def test_a_killed_driver_goes_on_from_finished_parts(cluster, tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    parts = tmp_path / "parts"
    words = [sys.executable, str(script), cluster.address]
    driver = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE)
    while not parts.is_dir() or len(files(parts)) < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = files(parts)
    assert 2 <= len(before) < 8
    again = subprocess.run(words, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"({8 - len(before)}, [])\n"
    assert files(parts) == {f"{number}.txt": str(number / 7).encode() for number in range(8)}
