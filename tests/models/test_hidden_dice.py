"""Dice that are exchanged unseen: the posterior by brute force, and what the knobs promise."""

import itertools

import numpy as np
import pytest
import torch

from concept_ppl import load_model, posterior, predictive, simulate
from concept_ppl.errors import ModelError


@pytest.mark.parametrize(("switch", "tilt"), [(0.05, 1.2), (0.6, 0.4)])
def test_the_posterior_is_that_of_brute_force(switch, tilt):
    model = load_model("hidden_dice", switch=switch, tilt=tilt)
    favoured = np.exp(tilt) / (3 * np.exp(tilt) + 3)
    low = np.array([favoured] * 3 + [1 / 3 - favoured] * 3)
    throws = np.stack([np.full(6, 1 / 6), low, low[::-1]])
    contexts = [[0], [5, 5, 1], [3, 0, 2, 2, 1]]
    answer = posterior(model, contexts)
    for row, context in enumerate(contexts):
        weights = np.zeros(3)
        for path in itertools.product(range(3), repeat=len(context)):
            moves = [1 - switch if a == b else switch / 2 for a, b in itertools.pairwise(path)]
            told = [throws[die, side] for die, side in zip(path, context, strict=True)]
            weights[path[-1]] += np.prod(moves) * np.prod(told) / 3
        assert float(answer.log_evidence[row]) == pytest.approx(np.log(weights.sum()), abs=1e-10)
        exact = weights / weights.sum()
        np.testing.assert_allclose(
            answer.log_marginals["die"][row].exp(), exact, rtol=0, atol=1e-12
        )


def test_the_next_token_is_one_more_throw():
    model = load_model("hidden_dice", switch=0.3)
    contexts = [[0], [5, 5, 1]]
    torch.testing.assert_close(
        predictive(model, contexts), predictive(model, contexts, site="x"), rtol=0, atol=1e-12
    )


def test_a_state_read_behind_any_throw_has_the_posterior_of_the_throws_so_far():
    model = load_model("hidden_dice")
    (context,) = simulate(model, 1, lengths=14)["x"]
    running = posterior(model, [context], filtered=True).filtered["die"]
    alone = posterior(model, [context[:t] for t in range(1, 15)]).log_marginals["die"]
    torch.testing.assert_close(running, alone, rtol=0, atol=1e-10)


def test_fair_dice_tell_nothing():
    answer = posterior(load_model("hidden_dice", tilt=0.0), [[0, 0, 0, 1]])
    assert answer.log_odds().abs().to_numpy().max() < 1e-12


@pytest.mark.parametrize("knobs", [{"switch": 1.2}, {"tilt": -0.1}])
def test_parameters_out_of_range_are_refused(knobs):
    with pytest.raises(ModelError, match="switch must be a probability and tilt at least 0"):
        load_model("hidden_dice", **knobs)
