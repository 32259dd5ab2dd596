"""Enumeration gives each concept a dimension of its own, whatever came before it."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.enumeration import Enumeration, GivenValues, role
from concept_ppl.programs.loops import run
from concept_ppl.programs.tracing import compile_model

from ..support.comparison import assert_log_close


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", "token"),
        ("x_12", "token"),
        ("x_axis", "concept"),
        ("y", "next"),
        ("y_word", "next"),
        ("yes", "concept"),
        ("topic", "concept"),
    ],
)
def test_a_site_is_what_its_name_says(name, expected):
    assert role(name) == expected


def test_parents_are_named_in_program_order_whatever_the_order_of_use():
    table = torch.rand(4, 3, 2, 5, dtype=torch.float64)
    table = table / table.sum(-1, keepdim=True)

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        b = pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(torch.ones(2) / 2))
        c = pyro.sample("c", dist.Categorical(torch.ones(4) / 4))
        pyro.sample("y", dist.Categorical(Vindex(table)[c, b, a]))

    factor = compile_model(model, 2).next_tokens["y"]
    assert factor.scope == ("a", "b", "c")
    assert_log_close(factor.table, table.permute(2, 1, 0, 3).log(), 1e-14)


def test_dimensions_in_a_markov_loop_are_used_again():
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]])

    def model(n_tokens):
        z = None
        for t in pyro.markov(range(n_tokens)):
            z = pyro.sample(f"z_{t}", dist.Categorical(rows[0] if z is None else Vindex(rows)[z]))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(rows)[z]))

    enumeration = Enumeration(0, [])
    run(model, 200, enumeration)
    assert len(enumeration.owners) <= 4
    assert enumeration.sites["z_199"].parents == ("z_198",)


def test_sixty_concepts_fit_beside_a_token_and_several_next_tokens():
    def model(n_tokens):
        for i in range(60):
            pyro.sample(f"c{i}", dist.Bernoulli(0.5))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(0.5))
        for i in range(5):
            pyro.sample(f"y_{i}", dist.Bernoulli(0.5))

    assert len(compile_model(model, 1).concepts) == 60


def test_values_reach_sites_and_parameters_before_the_program_sees_them():
    def model(n_tokens):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        shift = pyro.param("shift", torch.tensor(0.0))
        pyro.sample("a", dist.Bernoulli(logits=(p / (1 - p)).log() + shift))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(0.5))

    given = GivenValues({"p": torch.tensor(0.5), "shift": math.log(3.0)})
    enumeration = Enumeration(1, [])
    run(model, 1, given, enumeration)
    assert enumeration.sites["a"].table.exp().tolist() == pytest.approx([0.25, 0.75])
    assert given.used == {"p", "shift"}


def test_what_the_program_observes_itself_is_evidence():
    """In a plate too: three observed coins whose bias is the concept."""
    bias = torch.tensor([0.2, 0.6], dtype=torch.float64)

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.3)).long()
        with pyro.plate("seen", 3):
            own = Vindex(bias)[a]
            pyro.sample("coin", dist.Bernoulli(own), obs=torch.tensor([1.0, 0.0, 1.0]))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(0.5))

    weights = [0.7 * 0.2**2 * 0.8, 0.3 * 0.6**2 * 0.4]
    for engine in ("dense", "elimination"):
        result = posterior(model, [[-1]], engine=engine)
        assert_log_close(result.log_evidence, [math.log(sum(weights))], 1e-12)
        expected = [[math.log(w / sum(weights)) for w in weights]]
        assert_log_close(result.log_marginals["a"], expected, 1e-12)


def test_an_observed_zero_is_impossible_and_not_one_in_ten_million():
    table = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.3)).long()
        pyro.sample("seen", dist.Bernoulli(Vindex(table)[a]), obs=torch.tensor(1.0))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(0.5))

    assert_log_close(posterior(model, [[-1]]).log_marginals["a"], [[-math.inf, 0.0]])
