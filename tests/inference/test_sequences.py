"""Concepts that move: a thousand positions, two steps of memory, and what may stand beside them."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import InputError
from concept_ppl.inference.plans import chain_of
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

from ..support.brute_force import Site, Unrolled, log_sum, log_weights, marginal
from ..support.comparison import assert_log_close

T = 1000


def simplex(rng, *shape):
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def hidden_markov(start, move, emission):
    start, move, emission = (torch.as_tensor(table) for table in (start, move, emission))

    def model(n_tokens):
        z = None
        for t in pyro.markov(range(n_tokens)):
            z = pyro.sample(f"z_{t}", dist.Categorical(start if z is None else Vindex(move)[z]))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(emission)[z]))
        pyro.sample("y", dist.Categorical(Vindex(emission)[z]))

    return model


def forward_backward(start, move, emission, tokens):
    """Rabiner's scaled recursions in numpy: filtered, smoothed, log p(x_1 … x_t)."""
    alpha, scales = [], []
    for t, token in enumerate(tokens):
        state = (start if t == 0 else alpha[-1] @ move) * emission[:, token]
        scales.append(state.sum())
        alpha.append(state / state.sum())
    beta, smoothed = np.ones(len(start)), []
    for t in range(len(tokens) - 1, -1, -1):
        smoothed.append(alpha[t] * beta)
        beta = move @ (emission[:, tokens[t]] * beta) / scales[t]
    return np.array(alpha), np.array(smoothed[::-1]), np.cumsum(np.log(scales))


def test_a_thousand_positions_agree_with_an_independent_forward_backward_pass():
    rng = np.random.default_rng(5)
    start, move, emission = simplex(rng, 3), simplex(rng, 3, 3), simplex(rng, 3, 7)
    graph = compile_model(hidden_markov(start, move, emission), T)
    assert graph.prefix_consistent
    contexts = [rng.integers(0, 7, n).tolist() for n in (T, 1, 999, 400)]
    result = posterior(graph, contexts, filtered=True, smoothed=True)
    first = 0
    for row, context in enumerate(contexts):
        alpha, gamma, evidence = forward_backward(start, move, emission, context)
        own = slice(first, first + len(context))
        assert_log_close(result.filtered["z"][own], np.log(alpha), 1e-9)
        assert_log_close(result.smoothed["z"][own], np.log(gamma), 1e-9)
        assert_log_close(result.running_evidence[own], evidence, 1e-9)
        assert_log_close(result.log_evidence[row], evidence[-1], 1e-9)
        assert_log_close(result.log_marginals["z"][row], np.log(alpha[-1]), 1e-9)
        first += len(context)


def test_a_value_at_minus_two_thousand_nats_stays_there_in_both_precisions():
    emission = np.array([[0.9, 0.1], [0.1, 0.9]])
    n = 920
    graph = compile_model(hidden_markov(np.array([0.5, 0.5]), np.eye(2), emission), n)
    odds = n * (math.log(0.1) - math.log(0.9))
    assert odds < -2000
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 0.05)):
        result = posterior(graph.to(dtype=dtype), [[0] * n], smoothed=True, filtered=True)
        assert_log_close(result.log_marginals["z"][0], [0.0, odds], tolerance)
        assert_log_close(result.smoothed["z"][0], [0.0, odds], tolerance)
        assert_log_close(result.filtered["z"][-1], [0.0, odds], tolerance)


def test_the_state_holds_what_is_there_and_work_is_linear_in_the_length():
    rng = np.random.default_rng(5)
    start, move, emission = simplex(rng, 3), simplex(rng, 3, 3), simplex(rng, 3, 4)
    model = hidden_markov(start, move, emission)
    for n in (3, 30):
        graph = compile_model(model, n)
        chain = chain_of(graph)
        assert len(chain.steps) == n
        assert {len(step.carry) for step in chain.steps} == {1}
        assert chain.cells(graph) == 9


def test_two_steps_of_memory():
    """The state before the last is carried; the reference counts every path."""
    rng = np.random.default_rng(8)
    start, second, later = simplex(rng, 2), simplex(rng, 2, 2), simplex(rng, 2, 2, 2)
    emission = simplex(rng, 2, 3)

    def model(n_tokens):
        before = last = None
        for t in pyro.markov(range(n_tokens), history=2):
            if last is None:
                rows = torch.as_tensor(start)
            elif before is None:
                rows = Vindex(torch.as_tensor(second))[last]
            else:
                rows = Vindex(torch.as_tensor(later))[before, last]
            before, last = last, pyro.sample(f"z_{t}", dist.Categorical(rows))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(torch.as_tensor(emission))[last]))

    n = 5
    sites = [Site("z_0", (), {(): tuple(start)})]
    sites.append(Site("z_1", ("z_0",), {(i,): tuple(second[i]) for i in range(2)}))
    pairs = {(i, j): tuple(later[i, j]) for i in range(2) for j in range(2)}
    sites += [Site(f"z_{t}", (f"z_{t - 2}", f"z_{t - 1}"), pairs) for t in range(2, n)]
    rows = {(i,): tuple(emission[i]) for i in range(2)}
    tokens = tuple(Site(f"x_{t}", (f"z_{t}",), rows) for t in range(n))
    context = [0, 2, 1, 1, -1]
    weights = log_weights(Unrolled(tuple(sites), tokens, (), ()), context, {})
    result = posterior(model, [context], smoothed=True)
    assert_log_close(result.log_evidence, [log_sum([w for _, w in weights])])
    for t in range(n):
        assert_log_close(result.smoothed["z"][t], marginal(weights, (f"z_{t}",), (2,)))


def test_a_token_that_depends_on_the_state_before_the_last():
    """The state is carried for the token alone: no later state depends on it."""
    rng = np.random.default_rng(9)
    start, move = torch.as_tensor(simplex(rng, 2)), torch.as_tensor(simplex(rng, 2, 2))
    emission = torch.as_tensor(simplex(rng, 2, 3))

    def model(n_tokens):
        states = []
        for t in pyro.markov(range(n_tokens), history=2):
            row = Vindex(move)[states[-1]] if states else start
            states = [*states, pyro.sample(f"z_{t}", dist.Categorical(row))][-3:]
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(emission)[states[0]]))

    contexts = [[0, 2, 1, 1, 0], [2, 2], [1, 0, 2]]
    result = posterior(model, contexts, filtered=True, smoothed=True)
    exact = posterior(model, contexts, engine="elimination")
    assert_log_close(result.log_evidence, exact.log_evidence)
    assert_log_close(result.log_marginals["z"], exact.log_marginals["z"])
    ends = np.cumsum([len(context) for context in contexts]) - 1
    assert_log_close(result.smoothed["z"][ends], exact.log_marginals["z"])
    assert_log_close(result.running_evidence[ends], exact.log_evidence)


def closed_chain(n_tokens):
    """A loop, and a concept that depends on its last state."""
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = pyro.sample(f"z_{t}", dist.Categorical(half if z is None else Vindex(rows)[z]))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(rows)[z]))
    pyro.sample("end", dist.Categorical(Vindex(rows)[z]))


def test_a_concept_that_depends_on_the_last_state():
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    contexts = [[0, 1], [1], [0, 1, 1], []]
    result = posterior(closed_chain, contexts)
    z = result.log_marginals["z"].exp()
    assert_log_close(result.log_marginals["end"], (z @ rows).log())
    known = posterior(closed_chain, contexts, given={"end": torch.tensor([1, 1, 0, 1])})
    seen = torch.stack([rows[:, 1], rows[:, 1], rows[:, 0], rows[:, 1]])
    assert_log_close(known.log_marginals["z"], (z * seen / (z * seen).sum(1, keepdim=True)).log())
    assert_log_close(known.log_evidence - result.log_evidence, (z * seen).sum(1).log())


def test_a_concept_that_depends_on_the_last_state_has_no_posterior_before():
    with pytest.raises(InputError, match="concept 'end' of model closed_chain"):
        posterior(closed_chain, [[0, 1]], filtered=True)
