"""The programs that `fit.py` learns, ours and the same for each peer."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

N_CONCEPTS, VOCABULARY = 6, 30


def latent_classes(classes, items, answers):
    """Latent class analysis without priors: the maximum of the likelihood is the goal."""
    share = torch.full((classes,), 1 / classes, dtype=torch.float64)
    response = torch.full((items, classes, answers), 1 / answers, dtype=torch.float64)
    simplex = dist.constraints.simplex

    def model(n_tokens):
        own_share = pyro.param("share", share, constraint=simplex)
        own_response = pyro.param("response", response, constraint=simplex)
        kind = pyro.sample("class", dist.Categorical(own_share))
        with pyro.plate("position", n_tokens):
            logits = Vindex(own_response)[torch.arange(n_tokens), kind]
            pyro.sample("x", dist.Categorical(logits))

    return model


def answers_of_classes(n, classes, items, answers, seed=0):
    """Draw answers, shape (n, items), whose classes differ."""
    rng = np.random.default_rng(seed)
    response = rng.dirichlet(np.full(answers, 0.5), (items, classes))
    kinds = rng.choice(classes, n, p=rng.dirichlet(np.full(classes, 5.0)))
    cumulative = response.cumsum(-1)
    draws = rng.random((n, items))
    found = [(draws[:, t, None] > cumulative[t, kinds]).sum(1) for t in range(items)]
    return np.minimum(np.stack(found, 1), answers - 1)


def _tables():
    """Sample the tables of binary concepts in a chain; every token reads all of them."""
    root = pyro.sample("root", dist.Dirichlet(torch.ones(2)))
    links = pyro.sample("links", dist.Dirichlet(torch.ones(N_CONCEPTS - 1, 2, 2)).to_event(2))
    shape = (*[2] * N_CONCEPTS, VOCABULARY)
    emission = pyro.sample("emission", dist.Dirichlet(torch.ones(shape)).to_event(N_CONCEPTS))
    return root, links, emission


def _concepts(root, links):
    values = [pyro.sample("c_0", dist.Categorical(root), infer={"enumerate": "parallel"})]
    for i in range(1, N_CONCEPTS):
        probs = Vindex(links[i - 1])[values[-1]]
        values.append(
            pyro.sample(f"c_{i}", dist.Categorical(probs), infer={"enumerate": "parallel"})
        )
    return tuple(values)


def chain(n_tokens):
    """The chain as this package wants it: for one context."""
    root, links, emission = _tables()
    values = _concepts(root, links)
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emission)[values]))


def chain_in_plates(contexts):
    """The chain as Pyro wants it: a plate over contexts, positions inside, observed."""
    root, links, emission = _tables()
    n_contexts, n_tokens = contexts.shape
    with pyro.plate("context", n_contexts, dim=-2):
        values = _concepts(root, links)
        with pyro.plate("position", n_tokens, dim=-1):
            probs = Vindex(emission)[values]
            pyro.sample("x", dist.Categorical(probs), obs=contexts)
