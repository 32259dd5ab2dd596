"""Every context once, with probabilities that sum to one: expectations without sampling error."""

import itertools

import numpy as np
import pytest
import torch

from concept_ppl import load_model, posterior, predictive, simulate
from concept_ppl.errors import InputError
from concept_ppl.inference.enumerated_contexts import enumerate_contexts

TOTAL = pytest.approx(1, abs=1e-12)


def test_the_predictive_averages_to_that_of_no_context():
    model = load_model("concept_dag", vocabulary=4)
    world = enumerate_contexts(model, 3)
    assert world.contexts.padded().tolist() == [*map(list, itertools.product(range(4), repeat=3))]
    assert float(world.probabilities.sum()) == TOTAL
    mean = world.probabilities @ world.log_predictive.exp()
    torch.testing.assert_close(mean, predictive(model, [[]])[0].exp(), rtol=0, atol=1e-12)
    mean = world.probabilities @ world.posterior.log_joint.exp()
    prior = posterior(model, [[]], joint=True).log_joint[0].exp()
    torch.testing.assert_close(mean, prior, rtol=0, atol=1e-12)


def test_lengths_are_equally_likely_and_impossible_contexts_are_left_out():
    model = load_model("one_hot_permutation", bits=8, masked=4)
    world = enumerate_contexts(model, (2, 4))
    lengths = world.contexts.lengths
    assert len(world) < 4 + 8 + 16
    assert set(lengths) == {2, 3, 4}
    for length in (2, 3, 4):
        own = torch.from_numpy(lengths == length)
        assert float(world.probabilities[own].sum()) == pytest.approx(1 / 3, abs=1e-12)
    assert torch.isfinite(world.posterior.log_evidence).all()
    assert len(world.posterior) == len(world) == len(world.log_predictive)
    seen = {tuple(row) for row in simulate(model, 500, lengths=(2, 4))["x"]}
    assert seen <= {tuple(row) for row in map(tuple, _rows(world.contexts))}


def _rows(contexts):
    return np.split(contexts.tokens, np.cumsum(contexts.lengths)[:-1])


def test_the_next_token_may_be_that_of_the_context():
    model = load_model("hidden_concepts", preset="mess3")
    own, next_x = (enumerate_contexts(model, (1, 3), site=site) for site in ("y", "x"))
    torch.testing.assert_close(own.log_predictive, next_x.log_predictive, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [(9, "20 token values make 512,000,000,000 contexts"), ((3, 2), "shortest first")],
)
def test_too_many_contexts_are_refused_before_any_is_made(lengths, message):
    with pytest.raises(InputError, match=message):
        enumerate_contexts(load_model("concept_dag"), lengths)
