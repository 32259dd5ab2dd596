"""Where Pyro's own compute_marginals is right we agree with it; where it fails, we do not."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.ops.indexing import Vindex

from concept_ppl.inference.posteriors import posterior

from ..support.comparison import assert_log_close

RNG = np.random.default_rng(4)
ROOT = torch.as_tensor(RNG.dirichlet(np.ones(2)))
MIDDLE = torch.as_tensor(RNG.dirichlet(np.ones(3), 2))
LEAF = torch.as_tensor(RNG.dirichlet(np.ones(4), (2, 3)))
TOKENS = torch.as_tensor(RNG.dirichlet(np.ones(5), (3, 4)))


def network(n_tokens):
    a = pyro.sample("a", dist.Categorical(ROOT))
    b = pyro.sample("b", dist.Categorical(Vindex(MIDDLE)[a]))
    c = pyro.sample("c", dist.Categorical(Vindex(LEAF)[a, b]))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(TOKENS)[b, c]))


def network_for_pyro(contexts):
    """The same network as Pyro wants it: a plate over contexts, positions inside."""
    n, t = contexts.shape
    with pyro.plate("context", n, dim=-2):
        a = pyro.sample("a", dist.Categorical(ROOT))
        b = pyro.sample("b", dist.Categorical(Vindex(MIDDLE)[a]))
        c = pyro.sample("c", dist.Categorical(Vindex(LEAF)[a, b]))
        with pyro.plate("position", t, dim=-1):
            pyro.sample("x", dist.Categorical(Vindex(TOKENS)[b, c]), obs=contexts)


def marginals_by_pyro(model, contexts):
    elbo = TraceEnum_ELBO(max_plate_nesting=2)
    return elbo.compute_marginals(config_enumerate(model), lambda contexts: None, contexts)


def test_we_agree_with_pyro_on_a_network():
    contexts = torch.as_tensor(RNG.integers(0, 5, (7, 6)))
    theirs = marginals_by_pyro(network_for_pyro, contexts)
    for engine in ("dense", "elimination"):
        ours = posterior(network, contexts, engine=engine)
        for name in "abc":
            logits = theirs[name].logits.reshape(7, -1)
            expected = logits - logits.logsumexp(-1, keepdim=True)
            assert_log_close(ours.log_marginals[name], expected, 1e-9)


def test_one_context_is_a_batch_where_pyro_fails():
    """https://github.com/pyro-ppl/pyro/issues/3102: the plate of size one is squeezed away."""
    context = torch.tensor([[0, 3, 2, 2]])
    with pytest.raises(KeyError):
        marginals_by_pyro(network_for_pyro, context)
    alone = posterior(network, context)
    among_others = posterior(network, torch.cat([torch.tensor([[1, 1, 1, 1]]), context]))
    for name in "abc":
        assert_log_close(alone.log_marginals[name][0], among_others.log_marginals[name][1], 1e-12)


def test_evidence_within_a_plate_reaches_a_concept_outside_of_it():
    """Two coins behind one hidden bias: the bias is their sum's, counted by hand."""
    bias = torch.tensor([0.2, 0.7], dtype=torch.float64)
    noise = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)

    def coupled(n_tokens):
        g = pyro.sample("g", dist.Bernoulli(0.4)).long()
        with pyro.plate("position", n_tokens):
            z = pyro.sample("z", dist.Bernoulli(Vindex(bias)[g])).long()
            pyro.sample("x", dist.Categorical(Vindex(noise)[z]))

    def chance(g, token):
        p = float(bias[g])
        return (1 - p) * float(noise[0, token]) + p * float(noise[1, token])

    weights = [(0.6, 0.4)[g] * chance(g, 1) * chance(g, 1) * chance(g, 0) for g in (0, 1)]
    result = posterior(coupled, [[1, 1, 0]], smoothed=True)
    expected = [[math.log(w / sum(weights)) for w in weights]]
    assert_log_close(result.log_marginals["g"], expected)
    both = sum(
        (0.6, 0.4)[g] * float(bias[g]) * float(noise[1, 1]) * chance(g, 1) * chance(g, 0)
        for g in (0, 1)
    )
    assert_log_close(result.smoothed["z"][0, 1], math.log(both / sum(weights)))


def test_we_agree_with_pyro_where_a_plate_couples_global_and_local_concepts():
    """Pyro 1.9 is right here; https://github.com/pyro-ppl/pyro/issues/1460 is of older versions."""
    bias = torch.tensor([[0.2, 0.8], [0.7, 0.3]], dtype=torch.float64)
    noise = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    tokens = torch.tensor([1, 1, 0, 1])

    def coupled(n_tokens, observed=None):
        g = pyro.sample("g", dist.Categorical(bias[0]))
        h = pyro.sample("h", dist.Categorical(Vindex(bias)[g]))
        with pyro.plate("position", n_tokens):
            z = pyro.sample("z", dist.Categorical(Vindex(bias)[(g + h) % 2]))
            pyro.sample("x", dist.Categorical(Vindex(noise)[z]), obs=observed)

    theirs = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(
        config_enumerate(coupled), lambda *_: None, len(tokens), tokens
    )
    ours = posterior(coupled, tokens[None], smoothed=True)
    for name in "gh":
        expected = theirs[name].logits.log_softmax(-1)
        assert_log_close(ours.log_marginals[name][0], expected, 1e-9)
    assert_log_close(ours.smoothed["z"], theirs["z"].logits.log_softmax(-1), 1e-9)
