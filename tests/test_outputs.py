"""An output is whole or absent; what was there before stays until the new one is complete."""

import errno
import os
from pathlib import Path

import pytest

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file, new_folder, require_writable


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_when_the_block_succeeds(tmp_path):
    with new_file(tmp_path / "a" / "b.txt") as path:
        path.write_text("whole")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "whole"
    assert names(tmp_path) == ["a", "a/b.txt"]


def test_a_folder_appears_when_the_block_succeeds(tmp_path):
    with new_folder(tmp_path / "a" / "b") as path:
        (path / "c.txt").write_text("whole")
        assert not (tmp_path / "a" / "b").exists()
    assert names(tmp_path) == ["a", "a/b", "a/b/c.txt"]


@pytest.mark.parametrize("new", [new_file, new_folder])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_neither_output_nor_parents(new, failure, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(failure), new(tmp_path / "there" / "a" / "b" / "c"):
        raise failure
    assert names(tmp_path) == ["there"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file(failure, tmp_path):
    def interrupted():
        with new_file(tmp_path / "file", force=True) as path:
            path.write_text("new")
            raise failure

    (tmp_path / "file").write_text("old")
    with pytest.raises(failure):
        interrupted()
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_folder(failure, tmp_path):
    def interrupted():
        with new_folder(tmp_path / "folder", force=True) as path:
            (path / "new").touch()
            raise failure

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    with pytest.raises(failure):
        interrupted()
    assert names(tmp_path) == ["folder", "folder/old"]


def test_force_replaces_the_whole_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with (
        pytest.raises(InputError, match="already exists; pass --force"),
        new_folder(tmp_path / "out"),
    ):
        pass
    with new_folder(tmp_path / "out", force=True) as path:
        (path / "new").touch()
    assert names(tmp_path) == ["out", "out/new"]


def test_an_empty_folder_is_no_loss(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as path:
        (path / "new").touch()
    assert names(tmp_path) == ["out", "out/new"]


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    rename, calls = Path.replace, []

    def second_fails(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(OSError, match="Input/output"), new_folder(tmp_path / "out", force=True):
        pass
    assert names(tmp_path) == ["out", "out/old"]


@pytest.mark.parametrize("new", [new_file, new_folder])
def test_a_full_disk_is_told_in_a_sentence(new, tmp_path):
    with pytest.raises(InputError, match="out cannot be written: No space"), new(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_any_other_failure_inside_the_block_is_not_the_output_s(tmp_path):
    with pytest.raises(FileNotFoundError), new_file(tmp_path / "out"):
        (tmp_path / "input").read_text()


def test_files_and_folders_are_not_taken_for_each_other(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a folder; name a file"), new_file(tmp_path):
        pass
    for refuse in (new_folder, require_writable):
        with pytest.raises(InputError, match="is a file; name a folder"):
            refuse(tmp_path / "file", force=True).__enter__()


def test_a_device_is_never_replaced():
    with pytest.raises(InputError, match="/dev/null"), new_file("/dev/null", force=True):
        pass


@pytest.mark.parametrize("place", ["file/out", "file/a/b/out"])
def test_a_parent_that_is_a_file_is_named(place, tmp_path):
    (tmp_path / "file").touch()
    for new in (new_file, new_folder):
        with pytest.raises(InputError, match=r"out cannot be written: .*file is no folder"):
            new(tmp_path / place).__enter__()
    with pytest.raises(InputError, match="file is no folder"):
        require_writable(tmp_path / place)
    assert names(tmp_path) == ["file"]


def test_a_folder_without_permission_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(InputError, match="out cannot be written: Permission denied"):
        require_writable(tmp_path / "deep" / "out")
    assert names(tmp_path) == []


def test_a_long_name_fits_beside_its_temporary_one(tmp_path):
    with new_file(tmp_path / ("a" * 250)) as path:
        path.write_text("whole")
    assert names(tmp_path) == ["a" * 250]
    with pytest.raises(InputError, match="File name too long"), new_file(tmp_path / ("a" * 300)):
        pass


def test_a_probe_makes_nothing(tmp_path):
    require_writable(tmp_path / "a" / "b" / "c")
    assert names(tmp_path) == []


def test_force_spares_a_folder_of_another_kind(tmp_path):
    (tmp_path / "page").touch()
    (tmp_path / "thesis").touch()
    require_writable(tmp_path, force=True, known_by=("page",))
    with pytest.raises(InputError, match="without manifest"):
        require_writable(tmp_path, force=True, known_by=("page", "manifest"))
    with pytest.raises(InputError, match="already exists"):
        require_writable(tmp_path, known_by=("page",))
    with (
        pytest.raises(InputError, match="without manifest, so --force does not replace it"),
        new_folder(tmp_path, force=True, known_by=("page", "manifest")),
    ):
        pass
    assert names(tmp_path) == ["page", "thesis"]


def test_a_link_keeps_pointing_where_it_did(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    (tmp_path / "link.txt").symlink_to(tmp_path / "far" / "file.txt")
    with new_folder(tmp_path / "link") as path:
        (path / "new").touch()
    with new_file(tmp_path / "link.txt") as path:
        path.write_text("whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file.txt").read_text() == "whole"
    assert names(tmp_path / "far") == ["file.txt", "new"]


def test_outputs_are_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        with new_file(tmp_path / "file") as path:
            path.touch()
        with new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750
