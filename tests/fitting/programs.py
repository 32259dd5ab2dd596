"""Small programs with unknown tables, one for each way in which a table can depend on them."""

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

simplex = dist.constraints.simplex


def mixture(n_tokens):
    """Two kinds, three token values; the priors differ, so the kinds have names."""
    share = pyro.sample("share", dist.Dirichlet(torch.tensor([4.0, 2.0])))
    with pyro.plate("kinds", 2):
        rows = torch.tensor([[3.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
        emission = pyro.sample("emission", dist.Dirichlet(rows))
    kind = pyro.sample("kind", dist.Categorical(share))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emission)[kind]))


def mixture_in_plates(contexts):
    """The same program as Pyro wants it: a plate over contexts, observed."""
    share = pyro.sample("share", dist.Dirichlet(torch.tensor([4.0, 2.0])))
    with pyro.plate("kinds", 2):
        rows = torch.tensor([[3.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
        emission = pyro.sample("emission", dist.Dirichlet(rows))
    with pyro.plate("context", len(contexts), dim=-2):
        kind = pyro.sample("kind", dist.Categorical(share), infer={"enumerate": "parallel"})
        with pyro.plate("position", contexts.shape[1], dim=-1):
            pyro.sample("x", dist.Categorical(Vindex(emission)[kind]), obs=contexts)


def exchangeable(n_tokens):
    """Three kinds under flat priors: their names may swap."""
    share = pyro.sample("share", dist.Dirichlet(torch.ones(3)))
    emission = pyro.sample("emission", dist.Dirichlet(torch.ones(3, 4)).to_event(1))
    kind = pyro.sample("kind", dist.Categorical(share))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emission)[kind]))


def classes(n_tokens):
    """Latent classes by maximum likelihood: each position has tables of its own."""
    share = pyro.param("share", torch.full((3,), 1 / 3), constraint=simplex)
    response = pyro.param("response", torch.full((4, 3, 3), 1 / 3), constraint=simplex)
    kind = pyro.sample("kind", dist.Categorical(share))
    with pyro.plate("position", n_tokens):
        item = torch.arange(n_tokens)
        pyro.sample("x", dist.Categorical(Vindex(response)[item, kind]))


def moving(n_tokens):
    """A state that stays or switches; the same number stands in both rows, in either order."""
    stay = pyro.sample("stay", dist.Beta(6.0, 2.0))
    emission = pyro.sample("emission", dist.Dirichlet(torch.ones(2, 3)).to_event(1))
    matrix = torch.stack([torch.stack([stay, 1 - stay]), torch.stack([1 - stay, stay])])
    state = None
    for t in pyro.markov(range(n_tokens)):
        probs = torch.full((2,), 0.5) if state is None else Vindex(matrix)[state]
        state = pyro.sample(f"state_{t}", dist.Categorical(probs))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emission)[state]))


def computed(n_tokens):
    """Tables that are computed from weights, a prior that depends on a scale, a next token."""
    scale = pyro.sample("scale", dist.HalfNormal(2.0))
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2, 3), scale + 0.1).to_event(2))
    bias = pyro.param("bias", torch.zeros(2))
    mood = pyro.sample("mood", dist.Bernoulli(logits=bias[0]))
    kind = pyro.sample("kind", dist.Bernoulli(logits=bias[1] + mood))
    with pyro.plate("position", n_tokens):
        logits = weights[0] * kind.unsqueeze(-1) + weights[1] * mood.unsqueeze(-1)
        pyro.sample("x", dist.Categorical(logits=logits))
    pyro.sample("y", dist.Bernoulli(0.2 + 0.6 * mood))


def closing(n_tokens):
    """The last token closes the context, so each length is a program of its own."""
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    emission = pyro.sample("emission", dist.Dirichlet(torch.ones(2, 2)).to_event(1))
    kind = pyro.sample("kind", dist.Bernoulli(share))
    for t in range(n_tokens):
        word = torch.nn.functional.pad(Vindex(emission)[kind.long()], (0, 1))
        probs = word if t < n_tokens - 1 else torch.tensor([0.0, 0.0, 1.0])
        pyro.sample(f"x_{t}", dist.Categorical(probs))


PROGRAMS = {p.__name__: p for p in (mixture, exchangeable, classes, moving, computed)}
N_VALUES = {"exchangeable": 4}
