"""Two sites of one name are refused with both lines; Pyro's own trace refuses them too."""

import pyro
import pyro.distributions as dist
import pyro.poutine
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError
from concept_ppl.programs.tracing import compile_model

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)
ROWS = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)


def tokens(n_tokens, rows=HALF):
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(rows))


def two_concepts(n_tokens):
    a = pyro.sample("a", dist.Bernoulli(0.3)).long()
    pyro.sample("a", dist.Bernoulli(0.6))
    tokens(n_tokens, Vindex(ROWS)[a])


def two_next_tokens(n_tokens):
    tokens(n_tokens)
    pyro.sample("y", dist.Categorical(HALF))
    pyro.sample("y", dist.Categorical(HALF))


def two_observations(n_tokens):
    a = pyro.sample("a", dist.Bernoulli(0.3)).long()
    for value in (0.0, 1.0):
        pyro.sample("seen", dist.Bernoulli(Vindex(ROWS)[a][..., 1]), obs=torch.tensor(value))
    tokens(n_tokens)


def two_factors(n_tokens):
    a = pyro.sample("a", dist.Bernoulli(0.3)).long()
    pyro.factor("weight", Vindex(torch.tensor([0.0, -1.0]))[a])
    pyro.factor("weight", Vindex(torch.tensor([0.0, -2.0]))[a])
    tokens(n_tokens)


def two_rates(n_tokens):
    pyro.sample("p", dist.Beta(1.0, 1.0))
    pyro.sample("a", dist.Bernoulli(pyro.sample("p", dist.Beta(2.0, 1.0))))
    tokens(n_tokens)


def a_rate_and_a_parameter(n_tokens):
    pyro.param("p", torch.tensor(0.2))
    pyro.sample("a", dist.Bernoulli(pyro.sample("p", dist.Beta(2.0, 1.0))))
    tokens(n_tokens)


@pytest.mark.parametrize(
    "model", [two_concepts, two_next_tokens, two_factors, two_rates, a_rate_and_a_parameter]
)
def test_both_lines_are_named(model):
    first, second = (model.__code__.co_firstlineno + n for n in lines_of_the_name(model))
    with pytest.raises(ModelError, match=rf"called '\w+': line {first} \(.*line {second} \(.*name"):
        compile_model(model, 2, values={"p": 0.3} if "rate" in model.__name__ else None)
    with pytest.raises(RuntimeError, match=r"Multiple|already in the trace"):
        pyro.poutine.trace(model).get_trace(2)


def lines_of_the_name(model):
    places = {
        two_concepts: (1, 2),
        two_next_tokens: (2, 3),
        two_factors: (2, 3),
        two_rates: (1, 2),
        a_rate_and_a_parameter: (1, 2),
    }
    return places[model]


def test_a_line_that_runs_again_is_told_to_number_its_site():
    with pytest.raises(ModelError, match=r"'seen' is drawn more than once, each time at line \d+"):
        compile_model(two_observations, 2)


def test_a_parameter_may_be_asked_for_again_and_a_plate_opened_again():
    def model(n_tokens):
        first, again = (pyro.param("p", torch.tensor(0.2)) for _ in range(2))
        pyro.sample("a", dist.Bernoulli((first + again) / 2))
        tokens(n_tokens)

    assert list(compile_model(model, 2).concepts) == ["a"]


def test_a_member_of_a_plate_is_not_called_as_another_site():
    def model(n_tokens):
        pyro.sample("a.1", dist.Bernoulli(0.1))
        with pyro.plate("member", 2):
            pyro.sample("a", dist.Bernoulli(0.7))
        tokens(n_tokens)

    with pytest.raises(ModelError, match=r"two concepts would be called 'a\.1'"):
        compile_model(model, 2)


def test_a_concept_that_moves_is_not_called_as_one_that_stays():
    def model(n_tokens):
        pyro.sample("mood", dist.Bernoulli(0.1))
        for t in pyro.markov(range(n_tokens)):
            mood = pyro.sample(f"mood_{t}", dist.Bernoulli(0.5)).long()
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(ROWS)[mood]))

    with pytest.raises(ModelError, match="two concepts would be called 'mood'"):
        compile_model(model, 2)
