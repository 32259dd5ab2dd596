"""States on the disk are those in memory, to the last bit, however often the run dies."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import load_file

from concept_ppl.bridge import LanguageModel, extract, load_states
from concept_ppl.bridge.extraction.positions import POSITIONS
from concept_ppl.errors import InputError, LanguageModelError

from .conftest import TEXTS, WORDS, small_model, word_tokenizer

SITES = "embedding,resid.2,final_norm"


class Killed(BaseException):
    """Ends a run at once, as a signal would."""


def contexts(n: int, seed: int = 0) -> list[str]:
    """Contexts of 1 to 8 words, some of them twice."""
    rng = np.random.default_rng(seed)
    drawn = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(n)]
    return drawn + drawn[: n // 4]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def die_after(n_batches: int) -> Any:
    """Return a progress callback that ends the run after some batches."""
    calls = []

    def progress(_done: int, _total: int) -> None:
        calls.append(None)
        if len(calls) == n_batches:
            raise Killed

    return progress


@pytest.mark.parametrize("positions", [p for p in POSITIONS if p not in ("word", "marks")])
def test_on_the_disk_as_in_memory(llama: LanguageModel, tmp_path: Path, positions) -> None:
    texts = contexts(40)
    options = {"sites": "all", "positions": positions, "batch_tokens": 30}
    memory = extract(llama, texts, **options)
    disk = extract(llama, texts, **options, folder=tmp_path / "deep" / "states")
    assert disk.sites == memory.sites
    assert disk.provenance == memory.provenance
    assert_array_equal(disk.offsets, memory.offsets)
    for site in memory.sites:
        assert isinstance(disk[site], np.memmap)
        assert_array_equal(disk[site], memory[site])
    memory.save(tmp_path / "saved")
    assert tree(tmp_path / "saved") == tree(tmp_path / "deep" / "states")


def test_a_run_that_died_goes_on_and_ends_with_the_same_bytes(
    llama: LanguageModel, tmp_path: Path, block_calls
) -> None:
    texts = contexts(60)
    options = {"sites": SITES, "batch_tokens": 30}
    extract(llama, texts, **options, folder=tmp_path / "whole")
    calls = block_calls(llama)
    extract(llama, texts, **options, folder=tmp_path / "counted")
    n_calls = len(calls)
    calls.clear()
    for n_batches in (3, 7):  # the second run passes the three batches of the first
        with pytest.raises(Killed):
            extract(
                llama, texts, **options, folder=tmp_path / "died", progress=die_after(n_batches)
            )
        assert {path.name for path in tmp_path.iterdir()} == {"whole", "counted", ".died.partial"}
    extract(llama, texts, **options, folder=tmp_path / "died")
    assert tree(tmp_path / "died") == tree(tmp_path / "whole")
    assert len(calls) == n_calls  # no batch ran twice
    assert not (tmp_path / ".died.partial").exists()


def test_rows_that_never_reached_the_disk_are_read_again(
    llama: LanguageModel, tmp_path: Path
) -> None:
    texts = contexts(60)
    options = {"sites": SITES, "batch_tokens": 30}
    extract(llama, texts, **options, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        extract(llama, texts, **options, folder=tmp_path / "died", progress=die_after(6))
    partial = tmp_path / ".died.partial"
    shard = bytearray((partial / "resid.2.safetensors").read_bytes())
    shard[-40 * 64 :] = bytes(40 * 64)
    (partial / "resid.2.safetensors").write_bytes(shard)
    with (partial / "journal").open("a") as journal:
        journal.write("9 12")  # a line that was cut off
    extract(llama, texts, **options, folder=tmp_path / "died")
    assert tree(tmp_path / "died") == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    "change",
    [
        {"sites": "embedding,resid.2"},
        {"batch_tokens": 31},
        {"dtype": "bfloat16"},
        {"bos": False},
        {"positions": "mean"},
        {"texts": contexts(60, seed=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_run_begins_anew(llama: LanguageModel, tmp_path: Path, change) -> None:
    options = {"texts": contexts(60), "sites": SITES, "batch_tokens": 30}
    with pytest.raises(Killed):
        extract(llama, **options, folder=tmp_path / "s", progress=die_after(4))
    options |= change
    extract(llama, **options, folder=tmp_path / "s")
    extract(llama, **options, folder=tmp_path / "fresh")
    assert tree(tmp_path / "s") == tree(tmp_path / "fresh")


def test_other_weights_begin_anew(llama: LanguageModel, tmp_path: Path) -> None:
    from concept_ppl.bridge import wrap_language_model

    texts = contexts(60)
    with pytest.raises(Killed):
        extract(llama, texts, sites=SITES, folder=tmp_path / "s", progress=die_after(2))
    other = wrap_language_model(small_model("llama", seed=1), word_tokenizer(), name="llama")
    streamed = extract(other, texts, sites=SITES, folder=tmp_path / "s")
    assert_array_equal(streamed["resid.2"], extract(other, texts, sites=SITES)["resid.2"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_types_are_rounded_as_torch_rounds(
    llama: LanguageModel, tmp_path: Path, dtype
) -> None:
    exact = extract(llama, TEXTS, sites=SITES)
    stored = extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s", dtype=dtype)
    exact.save(tmp_path / "saved", dtype=dtype)
    assert tree(tmp_path / "saved") == tree(tmp_path / "s")
    for site in exact.sites:
        rounded = torch.from_numpy(exact[site]).to(getattr(torch, dtype))
        in_file = load_file(tmp_path / "s" / f"{site}.safetensors")[site]
        assert torch.equal(in_file, rounded)
        assert stored[site].dtype == np.float32
        assert_array_equal(stored[site], rounded.float().numpy())
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["dtype"] == dtype


def test_a_state_too_large_for_its_type_is_named(llama: LanguageModel, tmp_path: Path) -> None:
    with torch.no_grad():
        llama.model.get_input_embeddings().weight *= 1e6
    with pytest.raises(LanguageModelError, match="site embedding is too large for float16"):
        extract(llama, TEXTS, sites="embedding", folder=tmp_path / "s", dtype="float16")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="not stored as 'float8'"):
        extract(llama, TEXTS, sites="embedding", folder=tmp_path / "s", dtype="float8")


def test_the_bytes_are_told_before_the_start_and_refused_if_the_disk_lacks_them(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_calls
) -> None:
    told: list[str] = []
    calls = block_calls(llama)

    def announce(sentence: str) -> None:
        assert not calls
        told.append(sentence)

    extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s", announce=announce)
    size = sum((tmp_path / "s" / f"{site}.safetensors").stat().st_size for site in SITES.split(","))
    assert told == [f"{tmp_path}/s: 7 states of 16 float32 at 3 sites, {size / 1000:.1f} kB"]
    usage = shutil.disk_usage(tmp_path)._replace(free=size - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    calls.clear()
    with pytest.raises(InputError, match=r"would take 1\.7 kB, and the disk has 1\.7 kB left"):
        extract(llama, TEXTS, sites=SITES, folder=tmp_path / "t")
    assert not calls
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
@pytest.mark.parametrize(("reason", "refused"), [(errno.ENOSPC, True), (errno.EOPNOTSUPP, False)])
def test_a_disk_that_fills_up_is_told_and_one_that_cannot_reserve_is_used(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason, refused
) -> None:
    def fail(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    if refused:
        with pytest.raises(InputError, match="s cannot be written: No space left"):
            extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s")
        assert list(tmp_path.iterdir()) == []
    else:
        states = extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s")
        assert_array_equal(states["resid.2"], extract(llama, TEXTS, sites=SITES)["resid.2"])


def test_a_refusal_leaves_nothing_and_an_old_folder_alone(
    llama: LanguageModel, tmp_path: Path
) -> None:
    extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s")
    before = tree(tmp_path / "s")
    with pytest.raises(InputError, match="already exists"):
        extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s")
    with torch.no_grad():
        llama.model.get_input_embeddings().weight[4] = float("nan")
    with pytest.raises(LanguageModelError, match="is NaN or infinite at row 0"):
        extract(llama, ["cat"], sites=SITES, folder=tmp_path / "s", force=True)
    assert tree(tmp_path / "s") == before
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_two_runs_do_not_write_to_one_folder(llama: LanguageModel, tmp_path: Path) -> None:
    def second(_done: int, _total: int) -> None:
        with pytest.raises(InputError, match="being written by another process"):
            extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s")

    extract(llama, TEXTS, sites=SITES, folder=tmp_path / "s", progress=second)
    assert load_states(tmp_path / "s").n_contexts == len(TEXTS)


def test_sinks_are_counted_in_the_manifest(llama: LanguageModel, tmp_path: Path) -> None:
    with torch.no_grad():
        llama.model.get_input_embeddings().weight[4] *= 1000
    texts = ["the", "cat", "sat", "on", "cat"]
    told: list[str] = []
    extract(llama, texts, sites="embedding", folder=tmp_path / "s", announce=told.append)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["sinks"] == {"factor": 10.0, "n_rows": {"embedding": 2}}
    assert "2 of 5 states at embedding have more than 10 times the median norm" in told[1]


KILLS = 12
RUN = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from concept_ppl.bridge import extract, load_language_model

model, texts, folder, kills = sys.argv[1:]
language_model = load_language_model(model)
with open(texts) as file:
    texts = file.read().splitlines()
moments = random.Random(0)

def run():
    extract(language_model, texts, sites="all", positions="all", folder=folder, batch_tokens=24)

def seconds_of(work):
    start = time.monotonic(); work(); return time.monotonic() - start

whole = seconds_of(run)
os.rename(folder, folder + ".whole")
died = 0
for _ in range(int(kills)):
    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    time.sleep(moments.random() * whole * 0.3)
    os.kill(child, signal.SIGKILL)
    died += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if os.path.exists(folder):
        break
if not os.path.exists(folder):
    run()
print(died)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_the_result_has_the_same_digest(tmp_path: Path) -> None:
    small_model("llama").save_pretrained(tmp_path / "model")
    word_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "texts").write_text("\n".join(contexts(600)))
    words = [tmp_path / "model", tmp_path / "texts", tmp_path / "states", str(KILLS)]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
    assert tree(tmp_path / "states") == tree(tmp_path / "states.whole")
    assert not (tmp_path / ".states.partial").exists()
