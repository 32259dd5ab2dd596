"""A program must mean the same enumerated as when run with single values, and at every length."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import InputError, ModelError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

from ..support.brute_force import Site, World, solve
from ..support.comparison import assert_answers, assert_log_close

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)
ROWS = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)


def cube(n: int) -> torch.Tensor:
    table = torch.rand(n, n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return table / table.sum(-1, keepdim=True)


@pytest.mark.parametrize("n_tokens", [1, 3])
def test_chained_indexing_is_refused_also_where_all_sizes_are_equal(n_tokens):
    def of_tokens(n):
        a = pyro.sample("a", dist.Categorical(torch.ones(3) / 3))
        b = pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
        with pyro.plate("position", n):
            pyro.sample("x", dist.Categorical(cube(3)[a][b]))

    def of_concepts(n):
        a = pyro.sample("a", dist.Categorical(torch.ones(3) / 3))
        b = pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
        pyro.sample("c", dist.Categorical(cube(3)[a][b]))
        with pyro.plate("position", n):
            pyro.sample("x", dist.Categorical(HALF))

    def of_own_observations(n):
        a = pyro.sample("a", dist.Categorical(torch.ones(3) / 3))
        b = pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
        pyro.sample("seen", dist.Categorical(cube(3)[a][b]), obs=torch.tensor(1))
        with pyro.plate("position", n):
            pyro.sample("x", dist.Categorical(HALF))

    for model in (of_tokens, of_concepts, of_own_observations):
        with pytest.raises(ModelError, match=r"Vindex\(TABLE\)\[a, b\]"):
            compile_model(model, n_tokens)


def test_sums_over_a_plate_that_drop_its_dimension_are_refused():
    def model(n_tokens):
        with pyro.plate("member", 3):
            z = pyro.sample("z", dist.Bernoulli(0.5))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(cube(4)[0])[z.sum(-1).long()]))

    with pytest.raises(ModelError, match="site 'x'"):
        compile_model(model, 2)


def test_a_program_that_means_something_else_at_other_lengths():
    """Compiled once for each length where the program is passed; refused where a graph is."""

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(1 / (1 + n_tokens))).long()
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(ROWS)[a]))

    def world(n):
        return World(
            (Site("a", (), {(): (n / (n + 1), 1 / (n + 1))}),),
            (Site("x", ("a",), {(0,): (0.9, 0.1), (1,): (0.2, 0.8)}),),
        )

    contexts = [[1, 1, 1], [1], [0, 1], [1]]
    references = [solve(world(len(context)), context) for context in contexts]
    assert_answers(posterior(model, contexts, joint=True), references)
    graph = compile_model(model, 3)
    assert not graph.prefix_consistent
    with pytest.raises(InputError, match=r"row 1 has 1 tokens, but model model means something"):
        posterior(graph, contexts)
    assert_answers(posterior(graph, [contexts[0]], joint=True), references[:1])


def test_a_last_token_unlike_the_others_is_seen():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        ends = torch.zeros(n_tokens, 1).index_fill(0, torch.tensor([n_tokens - 1]), 1.0)
        rows = ends * HALF + (1 - ends) * Vindex(ROWS)[a].reshape(*a.shape[:-1], -1, 2)
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(rows))

    assert not compile_model(model, 4).prefix_consistent
    result = posterior(model, [[1], [1, 0], [0, 1, 1, 1]])
    assert_log_close(result.log_marginals["a"][0], HALF.log(), 1e-12)
    assert_log_close(result.log_marginals["a"][1].exp(), [1 / 9, 8 / 9], 1e-12)


def test_a_next_token_that_depends_on_the_last_step_of_a_plain_loop():
    """Without pyro.markov each step is a concept of its own, and each length has its own."""

    def model(n_tokens):
        z = None
        for t in range(n_tokens):
            z = pyro.sample(f"z_{t}", dist.Categorical(HALF if z is None else Vindex(ROWS)[z]))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(ROWS)[z]))
        pyro.sample("y", dist.Categorical(Vindex(ROWS)[z]))

    result = posterior(model, [[0, 1], [1, 1]])
    assert list(result.log_marginals) == ["z_0", "z_1"]
    with pytest.raises(ModelError, match="other concepts at other lengths"):
        posterior(model, [[0, 1], [1]])


def test_a_concept_that_only_long_contexts_have():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        rows = Vindex(ROWS)[a]
        if n_tokens > 2:
            b = pyro.sample("b", dist.Bernoulli(0.5)).long()
            rows = Vindex(cube(2))[a, b]
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(rows))

    assert not compile_model(model, 3).prefix_consistent
    assert_log_close(posterior(model, [[1]]).log_marginals["a"].exp(), [[1 / 9, 8 / 9]], 1e-12)


def test_one_row_that_changes_with_the_length_is_seen():
    def model(n_tokens):
        a = pyro.sample("a", dist.Categorical(torch.ones(50) / 50))
        rows = HALF.expand(50, 2).clone()
        if n_tokens == 3:
            rows[7] = torch.tensor([1.0, 0.0])
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(rows)[a]))

    log_p = posterior(model, [[1, 1, 1], [0, 1, 1, 1]]).log_marginals["a"]
    assert torch.isneginf(log_p[0, 7])


def test_control_flow_on_a_rare_value_is_seen():
    def model(n_tokens):
        a = pyro.sample("a", dist.Categorical(torch.ones(50) / 50))
        rows = torch.tensor([1.0, 0.0]) if (a == 7).all() else HALF
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(rows))

    with pytest.raises(ModelError):
        compile_model(model, 2)


def test_one_length_among_many_that_means_something_else_is_seen():
    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.9 if n_tokens == 11 else 0.5)).long()
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(ROWS)[a]))

    log_p = posterior(model, [[-1] * 11, [-1] * 40]).log_marginals["a"]
    assert_log_close(log_p[0].exp(), [0.1, 0.9], 1e-12)
