import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from concept_ppl.errors import InputError
from concept_ppl.reports import build_manifest
from concept_ppl.reports.manifest import write_manifest


def manifest(**changes):
    parts = {"command": "concept-ppl", "arguments": {}, "seeds": {}, "inputs": {}}
    return build_manifest(**(parts | changes))


def test_a_manifest_says_what_ran_where_and_when():
    made = manifest(seeds={"folds": np.int64(3)}, language_model={"revision": "main"})
    assert made["versions"]["torch"] == version("torch")
    assert made["versions"]["concept-ppl"] == version("concept-ppl")
    assert datetime.now(UTC) - datetime.fromisoformat(made["created"]) < timedelta(minutes=1)
    assert made["seeds"] == {"folds": 3}
    assert made["language_model"] == {"revision": "main"}
    assert manifest()["language_model"] is None


def test_a_command_of_words_can_be_pasted_into_a_shell():
    assert manifest(command=["concept-ppl", "analyse", "my states"])["command"] == (
        "concept-ppl analyse 'my states'"
    )


def test_arguments_become_what_json_can_hold(tmp_path):
    arguments = {
        "out": Path("report"),
        "layers": (1, np.int64(2)),
        "ridge": np.array([0.1, math.nan]),
        "bound": math.inf,
        "flag": np.bool_(True),
        "none": None,
        "names": {"b", "a"},
    }
    made = manifest(arguments=arguments)
    write_manifest(made, tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text()) == made
    assert made["arguments"] == {
        "out": "report",
        "layers": [1, 2],
        "ridge": [0.1, None],
        "bound": "inf",
        "flag": True,
        "none": None,
        "names": ["a", "b"],
    }


def test_inputs_are_known_by_their_digest_and_not_by_where_they_lay(tmp_path):
    file = tmp_path / "tokens.parquet"
    file.write_bytes(b"tokens")
    (entry,) = manifest(inputs={"tokens": file})["inputs"].values()
    digest = hashlib.sha256(b"tokens").hexdigest()
    assert entry == {"name": "tokens.parquet", "bytes": 6, "sha256": digest}


def test_the_digest_of_a_folder_changes_with_a_name_and_with_a_byte(tmp_path):
    def digest():
        return manifest(inputs={"states": tmp_path})["inputs"]["states"]["sha256"]

    (tmp_path / "a").write_bytes(b"1")
    first = digest()
    assert digest() == first
    (tmp_path / "a").rename(tmp_path / "b")
    second = digest()
    (tmp_path / "b").write_bytes(b"2")
    assert len({first, second, digest()}) == 3


def test_an_input_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.parquet cannot be read"):
        manifest(inputs={"tokens": tmp_path / "gone.parquet"})
