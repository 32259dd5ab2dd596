"""Training goes on where it was killed, changes what it may, and learns what the texts tell."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from concept_ppl import extract, load_model
from concept_ppl.errors import InputError, LanguageModelError
from concept_ppl.predictors.adaptation import (
    AdaptationRecipe,
    adapt,
    encoding_of,
    held_out_texts,
    word_level_language_model,
    world_words,
)

SHORT = AdaptationRecipe(steps=6, batch=8, learning_rate=1e-2)


def weights(encoding):
    return {k: w.clone() for k, w in encoding.language_model.model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_training_that_stopped_goes_on_to_the_same_weights(words, tmp_path):
    def fresh():
        return encoding_of(words, word_level_language_model(words, width=16, blocks=2))

    whole, part, rest = fresh(), fresh(), fresh()
    losses = adapt(whole, SHORT, seed=3)

    def stop(step, _losses):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(part, SHORT, seed=3, looks=(4,), look=stop, under_way=tmp_path / "t")
    seen = []
    resumed = adapt(
        rest,
        SHORT,
        seed=3,
        looks=(2, 4, 6),
        look=lambda step, _: seen.append(step),
        under_way=tmp_path / "t",
    )
    assert seen == [4, 6]
    assert resumed == losses
    assert same(weights(rest), weights(whole))


def test_looks_are_before_along_and_after(encoding):
    seen = []
    adapt(encoding, SHORT, looks=(0, 2, 6), look=lambda *seen_now: seen.append(seen_now))
    assert [(step, len(losses)) for step, losses in seen] == [(0, 0), (2, 2), (6, 6)]
    assert SHORT.spread(3) == (0, 2, 6)


def test_only_the_last_blocks_learn(encoding):
    before = weights(encoding)
    adapt(encoding, replace(SHORT, blocks=1))
    after = weights(encoding)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.startswith("model.layers.1.") for key in changed)


def test_lora_begins_as_no_change_and_leaves_the_weights_as_they_were(encoding, words):
    pytest.importorskip("peft")
    model, before = encoding.language_model, weights(encoding)
    read = words.sentences(held_out_texts(words.model, 5, seed=0).contexts)
    states = []

    def look(_step, _losses):
        states.append(np.array(extract(model, read, sites="final_norm")["final_norm"]))

    states.append(np.array(extract(model, read, sites="final_norm")["final_norm"]))
    adapt(encoding, replace(SHORT, blocks=1, lora=2), looks=(0, 6), look=look)
    assert np.array_equal(states[0], states[1])
    assert not np.allclose(states[1], states[2])
    after = weights(encoding)
    for key, value in before.items():
        name = key if key in after else key.replace("_proj.", "_proj.base_layer.")
        assert torch.equal(after[name], value)
    learning = [k for k, w in model.model.named_parameters() if w.requires_grad]
    assert learning
    assert all(key.startswith("model.layers.1.") and "lora" in key for key in learning)


def test_weights_that_take_no_gradients_are_refused_before_a_step(words):
    for change in (torch.bfloat16, torch.float16):
        model = word_level_language_model(words, width=16, blocks=1)
        model.model.to(change)
        with pytest.raises(LanguageModelError, match=r"takes no gradients .* float32"):
            adapt(encoding_of(words, model), SHORT)
    with torch.inference_mode():
        model = word_level_language_model(words, width=16, blocks=1)
    with pytest.raises(LanguageModelError, match="made for inference alone"):
        adapt(encoding_of(words, model), SHORT)


def test_a_disk_without_room_is_refused_before_a_step(encoding, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    before = weights(encoding)
    with pytest.raises(InputError, match=r"needs .* MB .* MB are free; make room"):
        adapt(encoding, SHORT, under_way=tmp_path / "deep" / "t")
    assert same(weights(encoding), before)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_loses_nothing(words, tmp_path, monkeypatch):
    from concept_ppl.predictors.adaptation import progress_files

    def fresh():
        return encoding_of(words, word_level_language_model(words, width=16, blocks=1))

    path, whole, part, rest = tmp_path / "t", fresh(), fresh(), fresh()
    adapt(whole, SHORT)

    def full(*_args, **_options):
        raise progress_files.SafetensorError("No space left on device")

    def fill(step, _losses):
        if step == 3:
            monkeypatch.setattr(progress_files, "save_file", full)

    with pytest.raises(InputError, match="cannot be written"):
        adapt(part, SHORT, looks=(3, 5), look=fill, under_way=path)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["t"]
    adapt(rest, SHORT, under_way=path)
    assert same(weights(rest), weights(whole))


def test_a_file_of_another_training_is_refused(encoding, words, tmp_path):
    path = tmp_path / "t"
    adapt(encoding, SHORT, under_way=path)
    for recipe, options in (
        (replace(SHORT, learning_rate=1e-3), {}),
        (SHORT, {"seed": 1}),
        (SHORT, {"kind": "exchanged"}),
    ):
        fresh = encoding_of(words, word_level_language_model(words, width=16, blocks=2))
        with pytest.raises(InputError, match="is of another training"):
            adapt(fresh, recipe, under_way=path, **options)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no training under way"):
        adapt(encoding, SHORT, under_way=path)


def test_a_training_that_diverges_says_so(encoding):
    with pytest.raises(InputError, match="has diverged"):
        adapt(encoding, replace(SHORT, learning_rate=1e30, steps=20))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"batch": 10**6},
        {"learning_rate": 0.0},
        {"warmup": 2.0},
        {"lora": -1},
        {"blocks": 0},
    ],
)
def test_recipes_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=r"must be|is a rank"):
        AdaptationRecipe(**{"steps": 5} | wrong)


def test_the_rate_rises_and_falls():
    recipe = AdaptationRecipe(steps=100, learning_rate=1.0, warmup=0.1, last_share=0.05)
    rates = [recipe.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == rates[9]
    assert rates[9] == pytest.approx(1.0, abs=0.03)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0.05 < rates[-1] < 0.06


def gap(encoding, texts):
    words = encoding.words
    bayes = words.log_predictive(texts.contexts)
    read = words.sentences(words.read(texts.contexts))
    states = extract(encoding.language_model, read, sites="final_norm")["final_norm"]
    log_p, _ = encoding.log_predictive(states)
    return float((np.exp(bayes) * (bayes - log_p)).sum(1).mean())


@pytest.mark.slow
def test_the_worlds_texts_close_the_predictor_gap_and_exchanged_ones_do_not(words):
    recipe = AdaptationRecipe(steps=200, batch=64, learning_rate=2e-3)
    texts = held_out_texts(words.model, 500, seed=0)
    bayes = words.log_predictive(texts.contexts)
    knows_nothing = float((np.exp(bayes) * (bayes + np.log(2))).sum(1).mean())
    gaps = {}
    for kind in ("world", "exchanged"):
        model = word_level_language_model(words, width=32, blocks=2)
        encoding = encoding_of(words, model)
        adapt(encoding, recipe, kind=kind)
        gaps[kind] = gap(encoding, texts)
    assert gaps["world"] < 0.3 * knows_nothing
    assert gaps["exchanged"] > 0.9 * knows_nothing


TO_BE_KILLED = """
import sys
from concept_ppl import load_model
from concept_ppl.predictors.adaptation import *
from concept_ppl.predictors.adaptation import adapting
adapting.SAVE_SECONDS = 0.2
words = world_words(load_model("codebook", names=2, noise=0.1, lengths=(3, 7)))
model = word_level_language_model(words, width=16, blocks=2)
recipe = AdaptationRecipe(steps=300, batch=8, learning_rate=1e-2)
adapt(encoding_of(words, model), recipe, seed=3, under_way=sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_any_moment_and_started_again_it_ends_in_the_same_weights(tmp_path):
    words = world_words(load_model("codebook", names=2, noise=0.1, lengths=(3, 7)))
    path, recipe = tmp_path / "t", AdaptationRecipe(steps=300, batch=8, learning_rate=1e-2)
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", TO_BE_KILLED, str(path)], env=environment)
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed, whole = (
        ended(encoding_of(words, word_level_language_model(words, width=16, blocks=2)), recipe, at)
        for at in (path, None)
    )
    assert 0 < resumed[0] < 300
    assert whole[0] == 0
    assert resumed[1] == whole[1]
    assert same(resumed[2], whole[2])


def ended(encoding, recipe, under_way):
    """Train to the end: the step at which it began, its losses, its weights."""
    steps = []
    losses = adapt(
        encoding, recipe, seed=3, under_way=under_way, progress=lambda done, _: steps.append(done)
    )
    return steps[0], losses, weights(encoding)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_learns_what_it_learns_on_the_cpu(words, tmp_path):
    ends = []
    for device in ("cpu", "cuda"):
        model = word_level_language_model(words, width=16, blocks=2, device=device)
        path = tmp_path / device
        losses = adapt(encoding_of(words, model), SHORT, under_way=path)
        again = word_level_language_model(words, width=16, blocks=2, device=device)
        assert adapt(encoding_of(words, again), SHORT, under_way=path) == losses
        ends.append(losses)
    assert np.allclose(*ends, atol=1e-4)
