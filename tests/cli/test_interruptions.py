"""What an interrupted command says of the work that it leaves behind."""

from pathlib import Path

import pytest

from concept_ppl.cli.interruptions import Interruption, ending_in_time, goes_on_from

GOES_ON = "what was finished is kept in kept; the same command goes on from there."
ANEW = "nothing was kept; the same command starts again."


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), ANEW),
        (("kept/",), ANEW),
        (("kept/.a.json.tmp",), ANEW),
        (("kept/a.json", "kept/.b.json.tmp"), GOES_ON),
        (("kept",), GOES_ON),
    ],
)
def test_only_work_that_is_there_is_said_to_be_kept(here, files, said):
    for name in files:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).mkdir() if name.endswith("/") else Path(name).touch()
    assert Interruption(Path("kept")).sentence() == f"interrupted: {said}"


def test_a_command_says_how_to_keep_its_work_and_says_it_once(here, capsys):
    with ending_in_time() as interruption:
        goes_on_from(None, "with --checkpoint FILE it would go on")
        interruption.tell()
        interruption.tell()
    assert capsys.readouterr().err == (
        "interrupted: nothing was kept; the same command starts again (with --checkpoint FILE it "
        "would go on).\n"
    )
    with ending_in_time() as other:  # the next command knows nothing of it
        assert other.sentence() == f"interrupted: {ANEW}"
