"""Several language models read as one does: the same batches, the same bytes, each batch once."""

from pathlib import Path

import numpy as np
import pytest

from concept_ppl.bridge import LanguageModel, Readers, extract, wrap_language_model
from concept_ppl.bridge.extraction import readers as rooms
from concept_ppl.distributed import Machines, hired
from concept_ppl.errors import InputError, UnfinishedError

from .conftest import WORDS, small_model, word_tokenizer

OPTIONS = {"sites": "all", "batch_tokens": 24}


def contexts(n: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(n)]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_states_are_those_that_the_model_itself_reads(llama, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rooms, "BLOCK_BYTES", 2**12)
    extract(llama, contexts(50), **OPTIONS, folder=tmp_path / "here")
    seen = []
    with hired(Machines()) as crew:
        extract(
            llama,
            contexts(50),
            **OPTIONS,
            folder=tmp_path / "there",
            readers=Readers(crew, lambda: llama),
            progress=lambda done, total: seen.append((done, total)),
        )
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert seen[-1] == (seen[-1][1],) * 2
    assert len(seen) > 5


def test_a_block_that_fails_is_reported_and_the_others_are_kept(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "BLOCK_BYTES", 2**12)
    read, calls = rooms.states_of_batch, []

    def fails(language_model, batch, *rest):
        calls.append(batch.readings)
        if batch.readings == calls[0]:
            raise RuntimeError("the card fell off")
        return read(language_model, batch, *rest)

    folder = tmp_path / "states"
    with hired(Machines()) as crew:
        options = {**OPTIONS, "folder": folder, "readers": Readers(crew, lambda: llama)}
        with monkeypatch.context() as patch:
            patch.setattr(rooms, "states_of_batch", fails)
            with pytest.raises(UnfinishedError, match=r"1 of \d+ blocks .* the card fell off"):
                extract(llama, contexts(50), **options)
        assert calls.count(calls[0]) == 3
        assert (tmp_path / ".states.partial").is_dir()
        again = []
        extract(llama, contexts(50), **options, progress=lambda *pair: again.append(pair))
    assert again[0][0] > again[-1][1] / 2  # most was there already
    extract(llama, contexts(50), **OPTIONS, folder=tmp_path / "whole")
    assert tree(folder) == tree(tmp_path / "whole")


def test_other_weights_are_refused(llama: LanguageModel) -> None:
    other = wrap_language_model(small_model("llama", seed=1), word_tokenizer(), name="llama")
    with (
        hired(Machines()) as crew,
        pytest.raises(InputError, match="no worker can do this: llama has other weights there"),
    ):
        extract(llama, contexts(5), **OPTIONS, readers=Readers(crew, lambda: other))
