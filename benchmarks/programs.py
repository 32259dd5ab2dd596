"""The generative models that the benchmarks answer, with random tables."""

from collections.abc import Callable
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

Program = Callable[[int], None]

PARENTS = ((), (0,), (0, 1), (1, 2), (2, 3), (3, 4))
"""The DAG of :func:`crossing_program`: the parents of each of its six concepts."""


class ChainTables(NamedTuple):
    """Binary concepts in a chain; every token reads all of them.

    Attributes
    ----------
    root : Tensor, shape (2,)
    links : Tensor, shape (n_concepts, 2, 2)
        Logits of a concept given the one before it; the first is not used.
    tokens : Tensor, shape (2, …, 2, vocabulary)
    """

    root: Tensor
    links: Tensor
    tokens: Tensor


def chain_tables(n_concepts: int, vocabulary: int) -> ChainTables:
    """Draw standard normal logits."""
    generator = torch.Generator().manual_seed(0)
    return ChainTables(
        root=torch.randn(2, generator=generator),
        links=torch.randn(n_concepts, 2, 2, generator=generator),
        tokens=torch.randn(*[2] * n_concepts, vocabulary, generator=generator),
    )


def _chain_concepts(tables: ChainTables) -> tuple[Tensor, ...]:
    values = [pyro.sample("c_0", dist.Categorical(logits=tables.root))]
    for i in range(1, len(tables.links)):
        logits = Vindex(tables.links[i])[values[-1]]
        values.append(pyro.sample(f"c_{i}", dist.Categorical(logits=logits)))
    return tuple(values)


def chain_program(tables: ChainTables) -> Program:
    """Return the chain as this package wants it: for one context."""

    def chain(n_tokens: int) -> None:
        values = _chain_concepts(tables)
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(logits=Vindex(tables.tokens)[values]))

    return chain


def chain_in_plates(tables: ChainTables) -> Callable[[Tensor], None]:
    """Return the chain as Pyro wants it: a plate over contexts, positions inside, observed."""

    def chain(contexts: Tensor) -> None:
        n_contexts, n_tokens = contexts.shape
        with pyro.plate("context", n_contexts, dim=-2):
            values = _chain_concepts(tables)
            with pyro.plate("position", n_tokens, dim=-1):
                logits = Vindex(tables.tokens)[values]
                pyro.sample("x", dist.Categorical(logits=logits), obs=contexts)

    return chain


def crossing_program(vocabulary: int, *, pairs_read: int | None = None) -> Program:
    """Return six binary concepts in a DAG; each token reads two of them, a new pair at each turn.

    Every pair of concepts is read by some position of sixteen, so the moral graph is complete; with
    ``pairs_read=1`` all tokens read the same two concepts.
    """
    n_concepts = len(PARENTS)
    pairs = [(i, (i + step) % n_concepts) for step in (1, 2, 3) for i in range(n_concepts)]
    pairs = pairs[:pairs_read]
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(*[2] * (len(p) + 1), generator=generator) for p in PARENTS]
    tokens = torch.randn(len(pairs), 2, 2, vocabulary, generator=generator)

    def crossing(n_tokens: int) -> None:
        values: list[Tensor] = []
        for i, parents in enumerate(PARENTS):
            logits = Vindex(tables[i])[tuple(values[j] for j in parents)] if parents else tables[i]
            values.append(pyro.sample(f"c_{i}", dist.Categorical(logits=logits)))
        for t in range(n_tokens):
            first, second = pairs[t % len(pairs)]
            logits = Vindex(tokens[t % len(pairs)])[values[first], values[second]]
            pyro.sample(f"x_{t}", dist.Categorical(logits=logits))

    return crossing
