"""The data that studies need come with the package, and a short name finds them from anywhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from concept_ppl.contexts.counterfactual_pairs import read_pairs
from concept_ppl.errors import InputError
from concept_ppl.shipped_data import SHIPPED, ShippedData, data_path

ROOT = Path(__file__).parents[1]


def test_a_short_name_finds_its_data_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(read_pairs(data_path("own")).concepts) == 27
    assert data_path("topics_and_tones").read_text(encoding="utf-8").startswith("text,topic,tone")
    assert all(shipped.path.exists() for shipped in SHIPPED.values())


def test_what_is_there_goes_before_a_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    assert data_path("own") == Path("own")
    assert data_path("others.csv") == Path("others.csv")


def test_an_installation_without_its_data_is_told_so():
    with pytest.raises(InputError, match="data/none is missing in this installation; install con"):
        _ = ShippedData("data/none", "Nothing.").path


@pytest.mark.slow
def test_the_wheel_holds_the_data(tmp_path):
    """Built from a copy, so that the checkout stays as it is."""
    source = tmp_path / "source"
    for folder in ("concept_ppl", "models", "analyses", "data"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools import build_meta as b; print(b.build_wheel(sys.argv[1]))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=source,
        env=environment,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for shipped in SHIPPED.values():
        files = [file for file in (shipped.path, *shipped.path.rglob("*")) if file.is_file()]
        base = f"concept_ppl/{shipped.place}"
        packed = {f"{base}/{file.relative_to(shipped.path)}".removesuffix("/.") for file in files}
        assert packed
        assert packed <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"concept_ppl"}
