"""Training by next-token prediction: towards Bayes, the same bit for bit, and on after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from concept_ppl.errors import InputError
from concept_ppl.predictors import (
    ARCHITECTURES,
    PredictorConfig,
    Recipe,
    exact_examples,
    sampled_examples,
    train,
    training,
    untrained,
)

TINY = PredictorConfig("mlp", width=16, depth=1, representation=2)


def numbers(predictor):
    """Everything that must come out the same."""
    weights = [p.detach().numpy().tobytes() for p in predictor.network.parameters()]
    return predictor.kl, predictor.steps, predictor.history, weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_and_comes_out_the_same_again(world, architecture):
    examples = exact_examples(world)
    config = PredictorConfig(architecture, width=16, depth=2)
    first, again = (train(config, examples, seed=0, max_steps=50) for _ in range(2))
    start = untrained(config, examples, seed=0)
    assert start.history == ((0, first.history[0][1]),)
    assert start.kl > 0.05
    assert first.kl < 0.2 * start.kl
    assert numbers(first) == numbers(again)
    assert first.kl == examples.kl(first.log_predictive(world.contexts))


def test_training_stops_at_the_first_look_at_which_kl_is_low_enough(world):
    examples, looks = exact_examples(world), []
    found = train(TINY, examples, seed=0, kl_target=1e-3, progress=lambda *look: looks.append(look))
    assert found.reached
    assert found.kl <= 1e-3
    assert all(kl > 1e-3 for _, kl in found.history[:-1])
    assert [(step, kl) for step, _, kl in looks] == list(found.history[1:])
    assert {total for _, total, _ in looks} == {5000}
    short = train(TINY, examples, seed=0, kl_target=1e-9, max_steps=30)
    assert not short.reached
    assert short.steps == 30
    assert [step for step, _ in short.history] == [0, 25, 30]


def test_where_y_is_c_log_ratios_become_the_log_odds_and_not_the_posterior(world):
    examples = exact_examples(world)
    found = train(TINY, examples, seed=0, kl_target=1e-5)
    assert found.reached
    f = found.states(world.contexts) @ np.diff(found.unembedding, axis=0).T
    log_odds = np.diff(world.posterior.log_joint.numpy(), axis=1)
    error = examples.weights @ np.square(f - log_odds)
    spread = examples.weights @ np.square(log_odds - examples.weights @ log_odds)
    assert (error < 1e-3 * spread).all()
    plain = world.posterior.log_joint.exp().numpy()[:, 1:]
    for one, other in zip(f.T, plain.T, strict=True):
        covariance = np.cov(one, other, aweights=examples.weights)
        assert covariance[0, 1] ** 2 < 0.97 * covariance[0, 0] * covariance[1, 1]


def test_f_narrower_than_the_rank_of_the_log_ratios_never_comes_close(world):
    narrow = PredictorConfig("mlp", width=16, depth=1, representation=1)
    examples = exact_examples(world)
    assert train(narrow, examples, seed=0, max_steps=500).kl > 0.01
    assert train(TINY, examples, seed=0, max_steps=500).kl < 1e-4


def test_few_pairs_are_learned_by_heart_at_the_cost_of_kl(world):
    few = sampled_examples(world, 60, seed=0)
    short, long = (train(TINY, few, seed=0, max_steps=steps) for steps in (50, 1500))
    loss = [-(few.shares * run.log_predictive(world.contexts)).sum() for run in (short, long)]
    assert loss[1] < loss[0]
    assert long.kl > min(kl for _, kl in long.history) + 0.01


def test_pairs_drawn_anew_for_each_step_lead_to_bayes_too(world):
    recipe = Recipe(pairs_per_step=64)
    first, again = (
        train(TINY, exact_examples(world), seed=0, max_steps=600, recipe=recipe) for _ in range(2)
    )
    assert numbers(first) == numbers(again)
    assert first.kl < 0.02


@pytest.mark.parametrize("pairs", [None, 32])
def test_a_training_goes_on_from_any_checkpoint_to_the_same_numbers(
    world, tmp_path, monkeypatch, pairs
):
    examples, recipe = exact_examples(world), Recipe(pairs_per_step=pairs)
    run = {"seed": 4, "kl_target": 1e-9, "max_steps": 150, "recipe": recipe}
    whole = train(TINY, examples, **run)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)

    def leave(done, _total, _kl):
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, examples, **run, checkpoint=tmp_path / "run", progress=leave)
    looks = []
    resumed = train(
        TINY,
        examples,
        **run,
        checkpoint=tmp_path / "run",
        progress=lambda step, *_: looks.append(step),
    )
    assert looks == [100, 125, 150]
    assert numbers(resumed) == numbers(whole)
    looks.clear()
    found = train(
        TINY, examples, **run, checkpoint=tmp_path / "run", progress=lambda *_: looks.append(1)
    )
    assert not looks
    assert numbers(found) == numbers(whole)
    assert found.seconds == resumed.seconds


LLAMA = PredictorConfig("llama", width=16, depth=1)
LONG = {
    "seed": 0,
    "kl_target": 1e-9,
    "max_steps": 400,
    "recipe": Recipe(look_every=5, pairs_per_step=32),
}
TO_BE_KILLED = """
import sys
from concept_ppl import load_model
from concept_ppl.inference import enumerate_contexts
from concept_ppl.predictors import PredictorConfig, Recipe, exact_examples, train, training

training.CHECKPOINT_SECONDS = 0.0
model = load_model("hidden_concepts", vocabulary=3, y_determinism=1.0)
examples = exact_examples(enumerate_contexts(model, (1, 3)))
config = PredictorConfig("llama", width=16, depth=1)
recipe = Recipe(look_every=5, pairs_per_step=32)
train(
    config, examples, seed=0, kl_target=1e-9, max_steps=400, recipe=recipe, checkpoint=sys.argv[1]
)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_any_moment_and_started_again_it_ends_in_the_same_numbers(world, tmp_path):
    examples, checkpoint = exact_examples(world), tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", TO_BE_KILLED, str(checkpoint)])
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    looks = []
    resumed = train(
        LLAMA, examples, **LONG, checkpoint=checkpoint, progress=lambda *look: looks.append(look)
    )
    assert 0 < len(looks) < 80
    assert numbers(resumed) == numbers(train(LLAMA, examples, **LONG))


def test_a_checkpoint_of_another_training_is_refused(world, tmp_path):
    examples, path = exact_examples(world), tmp_path / "run"
    train(TINY, examples, seed=0, max_steps=10, checkpoint=path)
    for changed in ({"seed": 1}, {"max_steps": 11}, {"recipe": Recipe(warmup=3)}):
        with pytest.raises(InputError, match="checkpoint of another training"):
            train(TINY, examples, **{"seed": 0, "max_steps": 10} | changed, checkpoint=path)
    other = sampled_examples(world, 10, seed=0)
    with pytest.raises(InputError, match="of another training"):
        train(TINY, other, seed=0, max_steps=10, checkpoint=path)
    Path(path).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="is no checkpoint of a training"):
        train(TINY, examples, seed=0, max_steps=10, checkpoint=path)


def test_the_number_of_threads_does_not_matter_and_is_left_as_it_was(world):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(numbers(train(TINY, exact_examples(world), seed=0, max_steps=20)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_training_that_diverges_says_so(world):
    with pytest.raises(InputError, match=r"has diverged, KL is .* smaller learning_rate"):
        train(TINY, exact_examples(world), seed=0, recipe=Recipe(learning_rate=1e30))


@pytest.mark.parametrize("wrong", [{"kl_target": 0.0}, {"max_steps": 0}])
def test_targets_must_be_positive(world, wrong):
    with pytest.raises(InputError, match="must be positive"):
        train(TINY, exact_examples(world), seed=0, **wrong)
