"""The command itself: its help, its completion, and how a lack of memory ends."""

import numpy as np
import pytest
import torch

from concept_ppl.cli import app, application
from concept_ppl.shipped_data import SHIPPED

from .command_line import concept_ppl, refused, succeeds


@pytest.mark.parametrize("group", ["", "study"])
def test_each_command_is_described_whole(group):
    text = " ".join(succeeds(f"{group} --help").split())
    commands = (application.study_app if group else app).registered_commands
    assert len(commands) >= 6
    for command in commands:
        about = command.help or command.callback.__doc__
        assert " ".join(about.split()) in text, command.name
    assert "..." not in text.partition("Commands:")[2]


def test_the_data_are_a_line_each_with_their_files():
    names, files = succeeds("data").split("\n\n")
    assert [line.split()[0] for line in names.splitlines()] == list(SHIPPED)
    assert [line.split()[1] for line in files.splitlines()] == [
        str(shipped.path) for shipped in SHIPPED.values()
    ]


def numpy_lacks():
    np.empty(2**58)


def torch_lacks():
    torch.empty(2**58)


@pytest.mark.parametrize("lacking", [numpy_lacks, torch_lacks])
def test_a_lack_of_memory_is_one_sentence(lacking, monkeypatch):
    monkeypatch.setattr("concept_ppl.zoo.zoo", lacking)
    assert refused("models").startswith("there is not enough memory for this (")


def test_another_error_of_a_library_is_not_called_a_lack_of_memory(monkeypatch):
    def fails():
        torch.zeros(2) @ torch.zeros(3)

    monkeypatch.setattr("concept_ppl.zoo.zoo", fails)
    with pytest.raises(RuntimeError, match="size"):
        concept_ppl("models")
