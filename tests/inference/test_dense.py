"""The dense table: a joint of 2^16 values in chunks; concepts that no token speaks of."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import MemoryBudgetError
from concept_ppl.inference.exact.dense import dense_prior
from concept_ppl.inference.plans import make_plan
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

from ..support.comparison import assert_log_close, assert_same

N = 16


@pytest.fixture(scope="module")
def wide():
    """Sixteen coins, all parents of each token: token 1 the more likely the more heads."""
    p = torch.linspace(0.2, 0.8, N, dtype=torch.float64)

    def model(n_tokens):
        heads = sum(pyro.sample(f"c{i}", dist.Bernoulli(p[i])) for i in range(N))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli((1 + heads) / (N + 2)))

    return compile_model(model, 3)


def by_convolution(context):
    """The number of heads has a Poisson-binomial law: numpy convolutions, no joint table."""
    p = np.linspace(0.2, 0.8, N)
    likelihood = np.ones(N + 1)
    for token in context:
        q = (1 + np.arange(N + 1)) / (N + 2)
        likelihood = likelihood * (q if token else 1 - q)

    def law(skip=None):
        mass = np.ones(1)
        for i in range(N):
            mass = np.convolve(mass, [1 - p[i], p[i]]) if i != skip else mass
        return mass

    total = law() @ likelihood
    heads = [p[i] * (law(i) @ likelihood[1:]) / total for i in range(N)]
    return np.log(total), np.log(heads)


def test_a_joint_of_65536_values_in_small_chunks(wide):
    contexts = [[0, 1, 1], [1], [], [1, 1, 1], [0, 0]]
    needed = make_plan(wide, Contexts.from_lists(contexts), engine="dense").bytes_per_context
    assert needed >= 2**N * 8
    result = posterior(wide, contexts, engine="dense", memory=2.5 * needed)
    for row, context in enumerate(contexts):
        log_evidence, log_heads = by_convolution(context)
        assert_log_close(result.log_evidence[row], log_evidence)
        stacked = torch.stack([result.log_marginals[f"c{i}"][row, 1] for i in range(N)])
        assert_log_close(stacked, log_heads)
    with pytest.raises(MemoryBudgetError, match=r"model model: one context needs .* bytes with"):
        posterior(wide, contexts, engine="dense", memory=needed - 1)


def test_concepts_that_tokens_do_not_speak_of_never_enter_the_table():
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)

    def model(n_tokens):
        cause = pyro.sample("cause", dist.Categorical(rows[0]))
        seen = pyro.sample("seen", dist.Categorical(Vindex(rows)[cause]))
        pyro.sample("effect", dist.Categorical(Vindex(rows)[seen]))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(rows)[seen]))

    graph = compile_model(model, 2)
    plan = make_plan(graph, Contexts.from_lists([[0, 1]]), engine="dense")
    assert plan.scope == ("seen",)
    prior = dense_prior(graph, plan.scope)
    assert prior.log_prior.shape == (2,)
    columns = prior.columns["effect"]
    assert_log_close(prior.log_conditional[:, columns], rows.log())
    back = torch.tensor([0.9, 0.1], dtype=torch.float64).unsqueeze(1) * rows
    columns = prior.columns["cause"]
    assert_log_close(prior.log_conditional[:, columns], (back / back.sum(0)).T.log())
    contexts = [[0, 1], [1]]
    dense = posterior(graph, contexts, engine="dense", joint=True)
    assert_same(dense, posterior(graph, contexts, engine="elimination", joint=True))


def test_answers_do_not_change_the_tables(wide):
    before = [factor.table.clone() for factor in wide.priors]
    token_table = wide.emissions[0].tokens.table.clone()
    first = posterior(wide, [[0, 1]], engine="dense")
    second = posterior(wide, [[0, 1]], engine="dense")
    assert_same(first, second, 0)
    assert all(torch.equal(a, f.table) for a, f in zip(before, wide.priors, strict=True))
    assert torch.equal(token_table, wide.emissions[0].tokens.table)
