"""Forward–backward in probabilities says what the recursion in log-space and its gradient say."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import simulate
from concept_ppl.contexts import Contexts
from concept_ppl.fitting.likelihoods.chain_evidence import ChainPass
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood

K, V = 3, 4


def simplex(name, *shape):
    ones = torch.ones(shape, dtype=torch.float64)
    return pyro.sample(name, dist.Dirichlet(ones).to_event(len(shape) - 1))


def hidden_markov(n_tokens):
    start, move, emit = simplex("start", K), simplex("move", K, K), simplex("emit", K, V)
    z = None
    for t in pyro.markov(range(n_tokens)):
        row = start if z is None else Vindex(move)[z]
        z = pyro.sample(f"z_{t}", dist.Categorical(row))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emit)[z]))


def with_a_topic_and_a_next_token(n_tokens):
    share, start = simplex("share", 2), simplex("start", K)
    move, emit, following = (
        simplex("move", 2, K, K),
        simplex("emit", K, 2, V),
        simplex("next", K, 3),
    )
    topic = pyro.sample("topic", dist.Categorical(share))
    z = None
    for t in pyro.markov(range(n_tokens)):
        row = start if z is None else Vindex(move)[topic, z]
        z = pyro.sample(f"z_{t}", dist.Categorical(row))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emit)[z, topic]))
    pyro.sample("y", dist.Categorical(Vindex(following)[z]))


def two_steps_back(n_tokens):
    start, move, emit = simplex("start", K), simplex("move", K, K, K), simplex("emit", K, V)
    before, z = None, None
    for t in pyro.markov(range(n_tokens), history=2):
        row = start if before is None else Vindex(move)[before, z]
        before, z = z, pyro.sample(f"z_{t}", dist.Categorical(row))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emit)[z]))


def two_chains(n_tokens):
    start, other = simplex("start", 2), simplex("other", K, 2)
    move, emit = simplex("move", 2, K), simplex("emit", 2, K, V)
    b = None
    for t in pyro.markov(range(n_tokens)):
        a = pyro.sample(f"a_{t}", dist.Categorical(start if b is None else Vindex(other)[b]))
        b = pyro.sample(f"b_{t}", dist.Categorical(Vindex(move)[a]))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emit)[a, b]))


MODELS = (hidden_markov, with_a_topic_and_a_next_token, two_steps_back, two_chains)


def contexts_of(model, n=30, seed=0):
    likelihood = make_likelihood(model, [[0, 1, 2, 3, 1]] * 2)
    values = likelihood.program.random_values(torch.Generator().manual_seed(seed))
    table = simulate(model, n, lengths=(1, 9), values=values, seed=seed)
    table["x"] = [np.where(np.arange(len(x)) == 2, -1, x) for x in table["x"]]  # one unobserved
    table["weight"] = np.random.default_rng(seed).uniform(0.1, 3, n)
    return table


@pytest.mark.parametrize("model", MODELS)
def test_counts_are_the_gradient_of_the_evidence_in_log_space(model):
    likelihood = make_likelihood(model, contexts_of(model))
    values = likelihood.program.random_values(torch.Generator().manual_seed(3))
    total, _, counts = likelihood.expected_counts(values)
    tables, _ = likelihood.program.evaluate(values)
    for evidence, own, found in zip(likelihood.evidence, tables, counts, strict=True):
        leaves = [table.detach().requires_grad_() for table in own]
        assert ChainPass.of(evidence.piece.graph(leaves)) is not None
        weights = torch.from_numpy(likelihood.weights)
        value = (weights * evidence.by_context(leaves)).sum()
        gradients = torch.autograd.grad(value, leaves)
        assert total == pytest.approx(float(value.detach()), rel=1e-12)
        for one, other in zip(found, gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_each_context_has_its_evidence_of_log_space(model):
    likelihood = make_likelihood(model, contexts_of(model))
    values = likelihood.program.random_values(torch.Generator().manual_seed(4))
    tables, _ = likelihood.program.evaluate(values)
    expected = likelihood.by_context(tables).detach().numpy()
    np.testing.assert_allclose(likelihood.each(values), expected, rtol=1e-12)


def test_steps_of_one_loop_share_a_table():
    (piece,) = make_likelihood(hidden_markov, [[0, 1, 2, 3, 1]] * 2).program.pieces
    assert len(piece.ties) == 3  # the start, the move, the tokens


def left_to_right(n_tokens):
    """A state that is left for ever once it is left, with tokens that bring it back as a belief."""
    stay = pyro.sample("stay", dist.Beta(torch.tensor(1.0), torch.tensor(1.0)))
    tiny = 1e-30
    emit = torch.tensor([[tiny, 0.5, 0.5 - tiny], [1 - tiny, tiny, 0.0]], dtype=torch.float64)
    z = None
    for t in pyro.markov(range(n_tokens)):
        row = torch.stack([stay, 1 - stay])
        moved = torch.stack([row, torch.tensor([0.0, 1.0])])
        z = pyro.sample(f"z_{t}", dist.Categorical(row if z is None else Vindex(moved)[z]))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emit)[z]))


def test_a_state_that_nearly_died_out_comes_back():
    """Six tokens make the first state 10^-180 times less likely, then a token needs it."""
    contexts = Contexts.from_lists([[0] * 6 + [2], [1, 0], [0] * 3])
    likelihood = make_likelihood(left_to_right, contexts)
    value = torch.tensor(0.7, dtype=torch.float64)
    total, _, counts = likelihood.expected_counts({"stay": value})
    exact = 6 * np.log(1e-30) + 7 * np.log(0.7) + np.log(0.5)
    assert likelihood.each({"stay": value})[0] == pytest.approx(exact, rel=1e-10)
    tables, _ = likelihood.program.evaluate({"stay": value})
    leaves = [table.detach().requires_grad_() for table in tables[0]]
    found = likelihood.evidence[0].by_context(leaves).sum()
    assert total == pytest.approx(float(found.detach()), rel=1e-12)
    for one, other in zip(counts[0], torch.autograd.grad(found, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
