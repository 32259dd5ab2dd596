"""States come back from the disk as they went, or with one sentence that says what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file, save_file

from concept_ppl.bridge import LanguageModel, States, extract, load_states
from concept_ppl.errors import InputError

from .conftest import TEXTS


@pytest.fixture
def states(llama: LanguageModel) -> States:
    return extract(llama, TEXTS, sites="embedding,resid.2,embedding.sum")


@pytest.fixture
def folder(states: States, tmp_path: Path) -> Path:
    states.save(tmp_path / "states")
    return tmp_path / "states"


def test_states_come_back_bitwise(states: States, folder: Path) -> None:
    loaded = load_states(folder)
    assert loaded.sites == states.sites
    assert len(loaded) == loaded.n_contexts == len(TEXTS)
    assert loaded.width == 16
    assert loaded.provenance == states.provenance
    assert_array_equal(loaded.n_tokens, states.n_tokens)
    for site in states.sites:
        assert loaded[site].dtype == np.float32
        assert_array_equal(loaded[site], states[site])


def test_loaded_states_can_be_saved_again(folder: Path, tmp_path: Path) -> None:
    load_states(folder).save(tmp_path / "again")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        *("contexts.safetensors", "embedding.safetensors", "embedding.sum.safetensors"),
        *("manifest.json", "resid.2.safetensors"),
    ]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_an_existing_folder_is_replaced_only_when_forced(states: States, folder: Path) -> None:
    with pytest.raises(InputError, match="already exists"):
        states.save(folder)
    states.save(folder, force=True)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_provenance_names_the_model(states: States, llama: LanguageModel) -> None:
    made_by = states.provenance
    assert made_by["digest"] == llama.digest
    assert made_by["prefix"] == "<s>"
    assert made_by["weights_kind"] == "given"
    assert set(made_by["versions"]) >= {"concept-ppl", "torch", "transformers"}


def test_a_site_that_was_not_extracted_is_named(states: States) -> None:
    with pytest.raises(InputError, match=r"'resid\.1'; there are embedding, resid\.2"):
        states["resid.1"]


def test_sinks_are_the_rows_of_outlying_norm(states: States) -> None:
    arrays = {"resid.2": np.ones((7, 16), dtype=np.float32)}
    arrays["resid.2"][4] *= 11
    arrays["resid.2"][5] *= 9
    with_sink = States(("resid.2",), 16, states.n_tokens, {}, arrays)
    assert with_sink.sinks("resid.2").tolist() == [4]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_stored_state_that_is_not_finite_is_named(folder: Path, value: float) -> None:
    path = folder / "resid.2.safetensors"
    tensors = load_file(path)
    tensors["resid.2"][3, 5] = value
    save_file(tensors, path)
    loaded = load_states(folder)
    assert np.isfinite(loaded["embedding"]).all()
    with pytest.raises(InputError, match=r"resid\.2\.safetensors .* site resid\.2, row 3"):
        loaded["resid.2"]


def test_a_missing_or_foreign_folder_is_no_folder_of_states(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder of states"):
        load_states(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_states(tmp_path)
    (tmp_path / "manifest.json").write_text('{"analysis": "report"}')
    with pytest.raises(InputError, match="does not describe states"):
        load_states(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="JSON"):
        load_states(tmp_path)


def test_force_replaces_states_and_no_other_folder(states: States, tmp_path: Path) -> None:
    states.save(tmp_path / "states")
    states.save(tmp_path / "states", force=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"is a folder without .* --force does not replace it"):
        states.save(mine, force=True)
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


def test_a_manifest_that_lies_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for change, message in [
        ({"format_version": 99}, "format version 99"),
        ({"width": None}, "valid width"),
        ({"width": 17}, r"holds \(7, 16\) at site embedding"),
        ({"sites": ["resid.9"]}, r"resid\.9\.safetensors cannot be read"),
        ({"n_contexts": 8}, r"counts the tokens of 7 contexts, not 8"),
    ]:
        path.write_text(json.dumps(manifest | change))
        with pytest.raises(InputError, match=message):
            load_states(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    for name in ("resid.2.safetensors", "contexts.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-4])
        with pytest.raises(InputError, match=rf"{name} cannot be read"):
            load_states(folder)
        path.unlink()
        with pytest.raises(InputError, match=rf"{name} cannot be read"):
            load_states(folder)
        path.write_bytes(whole)
