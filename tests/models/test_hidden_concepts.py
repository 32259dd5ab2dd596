"""A concept that moves: Mess3 as published, and what the knobs promise."""

import itertools

import numpy as np
import pytest
import torch

from concept_ppl import compile_model, load_model, posterior, predictive
from concept_ppl.errors import ModelError
from concept_ppl.inference.enumerated_contexts import enumerate_contexts

# Labelled transition matrices of Mess3 with x = .05, alpha = .85 (Shai et al. 2024, appendix):
# entry (i, j) of the matrix of token k is p(token k, state j | state i).
MOVE, STAY, TELL, OTHER = 0.05, 0.9, 0.85, 0.075
MESS3 = np.array(
    [
        [
            [TELL * STAY, OTHER * MOVE, OTHER * MOVE],
            [TELL * MOVE, OTHER * STAY, OTHER * MOVE],
            [TELL * MOVE, OTHER * MOVE, OTHER * STAY],
        ],
        [
            [OTHER * STAY, TELL * MOVE, OTHER * MOVE],
            [OTHER * MOVE, TELL * STAY, OTHER * MOVE],
            [OTHER * MOVE, TELL * MOVE, OTHER * STAY],
        ],
        [
            [OTHER * STAY, OTHER * MOVE, TELL * MOVE],
            [OTHER * MOVE, OTHER * STAY, TELL * MOVE],
            [OTHER * MOVE, OTHER * MOVE, TELL * STAY],
        ],
    ]
)


def test_mess3_is_the_published_process():
    assert MESS3.sum(axis=(0, 2)) == pytest.approx([1, 1, 1])
    model = load_model("hidden_concepts", preset="mess3")
    contexts = list(itertools.product(range(3), repeat=4))
    answer, following = posterior(model, contexts), predictive(model, contexts).exp()
    for row, context in enumerate(contexts):
        belief = np.full(3, 1 / 3)
        for token in context:
            belief = belief @ MESS3[token]
        assert float(answer.log_evidence[row].exp()) == pytest.approx(belief.sum(), abs=1e-14)
        state = belief / belief.sum()
        np.testing.assert_allclose(answer.log_marginals["state"][row].exp(), state, atol=1e-12)
        np.testing.assert_allclose(following[row], state @ MESS3.sum(2).T, atol=1e-12)


def additivity_gap(model, n_tokens: int) -> float:
    """How far log-odds given the first two of the tokens are from a sum over the two."""
    pairs = np.full((9, n_tokens), -1)
    pairs[:, :2] = list(itertools.product(range(3), repeat=2))
    first, second, unknown = pairs.copy(), pairs.copy(), np.full_like(pairs, -1)
    first[:, 1] = second[:, 0] = -1
    both, one, other, none = (
        posterior(model, torch.from_numpy(rows)).log_odds().to_numpy()
        for rows in (pairs, first, second, unknown)
    )
    return float(np.abs(both - one - other + none).max())


@pytest.mark.parametrize("seed", range(3))
def test_from_three_tokens_on_log_odds_are_additive_only_if_the_concept_stays(seed):
    moving = load_model("hidden_concepts", seed=seed)
    assert additivity_gap(moving, 3) > 0.01
    assert additivity_gap(moving, 2) < 1e-12
    assert additivity_gap(load_model("hidden_concepts", switch=0.0, seed=seed), 3) < 1e-12
    assert additivity_gap(load_model("hidden_concepts", preset="mess3"), 3) > 0.1


def test_the_next_token_is_one_more_of_the_process():
    model = load_model("hidden_concepts", seed=2)
    contexts = [[0], [1, 2], [3, 2, 0, 0]]
    torch.testing.assert_close(
        predictive(model, contexts), predictive(model, contexts, site="x"), rtol=0, atol=1e-12
    )


def test_the_next_token_is_the_last_state_at_one_and_says_nothing_at_zero():
    contexts = [[0], [1, 2], [3, 2, 0, 0]]
    copy = load_model("hidden_concepts", y_determinism=1.0)
    last = posterior(copy, contexts).log_marginals["state"]
    torch.testing.assert_close(predictive(copy, contexts), last, rtol=0, atol=1e-12)
    silent = load_model("hidden_concepts", y_determinism=0.0)
    flat = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(predictive(silent, contexts).exp(), flat, rtol=0, atol=1e-12)


def test_tokens_tell_more_the_more_informative_they_are():
    def entropy(knob):
        world = enumerate_contexts(load_model("hidden_concepts", x_informativeness=knob), 4)
        return float(world.probabilities @ world.posterior.entropy)

    values = [entropy(knob) for knob in (0.0, 0.4, 0.8, 1.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.1


def test_the_knobs_change_no_draw():
    def emission(**knobs):
        graph = compile_model(load_model("hidden_concepts", **knobs), 2)
        return graph.emissions[0].tokens.table

    assert torch.equal(emission(seed=1), emission(seed=1, switch=0.7, y_determinism=1.0))
    assert not torch.equal(emission(seed=1), emission(seed=2))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"preset": "mess4"}, "preset must be one of random, mess3"),
        ({"states": 1}, "states and vocabulary must be at least 2"),
        ({"switch": 1.2}, "switch must lie between 0 and 1"),
        ({"x_informativeness": -1}, "x_informativeness must lie"),
        ({"y_determinism": 2.0}, "y_determinism must lie"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(ModelError, match=message):
        load_model("hidden_concepts", **parameters)
