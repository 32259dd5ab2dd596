"""A tree of binary concepts, each read by tokens of its own: too many joint values for a table."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError

MOST_CONCEPTS = 60


def build(
    concepts: int = 60,
    branching: int = 2,
    vocabulary: int = 8,
    seed: int = 0,
) -> Callable[[int], None]:
    """Return the model.

    The token at position t depends on concept ``t mod concepts``. Given all concepts, tokens are
    independent, so joint log-ratios are additive in the tokens; the marginals of the concepts,
    which depend on each other, are not.

    Parameters
    ----------
    concepts
        Number of binary concepts ``z_0, z_1, …``; concept i > 0 has the parent
        ``(i − 1) // branching``.
    branching
        Children of each concept; 1 makes a chain.
    vocabulary
        Number of token values.
    seed
        Of the random tables.

    Raises
    ------
    ModelError
        If a parameter is out of range.
    """
    if not 1 <= concepts <= MOST_CONCEPTS or branching < 1 or vocabulary < 2:
        raise ModelError(
            f"concepts must be 1 to {MOST_CONCEPTS}, branching at least 1 and vocabulary at least "
            f"2, not {concepts}, {branching} and {vocabulary}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        root = torch.randn(2)
        child = torch.randn(concepts, 2, 2)
        emission = torch.randn(concepts, 2, vocabulary)

    def model(n_tokens: int) -> None:
        values = [pyro.sample("z_0", dist.Categorical(logits=root))]
        for i in range(1, concepts):
            logits = Vindex(child[i])[values[(i - 1) // branching]]
            values.append(pyro.sample(f"z_{i}", dist.Categorical(logits=logits)))
        for t in range(n_tokens):
            read = t % concepts
            logits = Vindex(emission[read])[values[read]]
            pyro.sample(f"x_{t}", dist.Categorical(logits=logits))

    model.lengths = (concepts, concepts)  # type: ignore[attr-defined]
    return model
