"""One trace answers shorter contexts only if the program says the same there."""

from itertools import pairwise

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.prefixes import is_prefix_consistent
from concept_ppl.programs.tracing import compile_model

from ..support.comparison import assert_log_close

ROWS = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)


def loop(n_tokens, probs=ROWS):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = pyro.sample(f"z_{t}", dist.Categorical(probs[0] if z is None else Vindex(probs)[z]))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(ROWS)[z]))
    pyro.sample("y", dist.Categorical(Vindex(ROWS)[z]))


def bag(n_tokens, shift=0.0):
    a = pyro.sample("a", dist.Bernoulli(0.5)).long()
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(ROWS + shift * torch.tensor([1.0, -1.0]))[a]))


@pytest.mark.parametrize("model", [loop, bag])
def test_a_program_that_says_the_same_at_each_length(model):
    assert compile_model(model, 5).prefix_consistent


@pytest.mark.parametrize("model", [loop, bag])
@pytest.mark.parametrize("length", [1, 3, 4])
def test_the_least_difference_at_one_length_is_seen(model, length):
    def unlike(n_tokens):
        gap = 1e-9 * (n_tokens == length)
        model(n_tokens, ROWS + torch.tensor([gap, -gap]) if model is loop else gap)

    assert not compile_model(unlike, 5).prefix_consistent
    others = [n for n in range(1, 5) if n != length]
    assert compile_model(unlike, 5, lengths=others).prefix_consistent


def test_a_concept_observed_at_each_step_is_no_prefix_of_itself():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        for t in range(n_tokens):
            pyro.sample(f"seen_{t}", dist.Categorical(Vindex(ROWS)[a]), obs=torch.tensor(1))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(ROWS)[a]))

    result = posterior(model, [[-1], [-1, -1]])
    odds = torch.tensor([8.0, 64.0], dtype=torch.float64)
    assert_log_close(result.log_marginals["a"][:, 1].exp(), odds / (1 + odds))


def test_lengths_beyond_the_budget_are_spread():
    graph = compile_model(bag, 100, lengths=[])
    assert not graph.prefix_consistent
    seen = {"traced": [], "run": []}

    def trace(length):
        seen["traced"].append(length)
        return compile_model(bag, length, lengths=[])

    def agrees(length):
        seen["run"].append(length)
        return True

    assert is_prefix_consistent(graph, range(1, 100), trace, agrees, cells=200_000)
    traced, run = seen["traced"], seen["run"]
    assert traced[0] == 1
    assert traced[-1] == 99
    assert max(b - a for a, b in pairwise(traced)) < 25
    assert len(run) == len(set(run) - set(traced)) == 4000 // 101


def test_a_parameter_that_only_some_lengths_use():
    def model(n_tokens):
        p = pyro.param("p", torch.tensor(0.5)) if n_tokens == 1 else 0.5
        a = pyro.sample("a", dist.Bernoulli(p)).long()
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(ROWS)[a]))

    result = posterior(model, [[-1], [-1, -1]], values={"p": 0.25})
    assert_log_close(result.log_marginals["a"][:, 1].exp(), [0.25, 0.5])
    with pytest.raises(ModelError, match="no parameter named 'p'"):
        posterior(model, [[-1, -1]], values={"p": 0.25})
