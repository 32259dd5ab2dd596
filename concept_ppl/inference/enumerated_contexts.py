"""Every context of a world, with its exact probability, predictive and posterior; none is sampled.

A sum over contexts weighted by p(x) is then an expectation, not an estimate of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_model

from .posteriors import posterior
from .queries import predictive
from .results import Posterior

MOST_CONTEXTS = 2**20
"""More contexts than this are refused before any of them is made."""


@dataclass(frozen=True, eq=False)
class EnumeratedContexts:
    """All contexts that a world can produce.

    Attributes
    ----------
    contexts : Contexts
        Shortest first, each length in lexicographic order; contexts of probability zero are left
        out.
    probabilities : Tensor, shape (n_contexts,)
        p(x); over several lengths, each of them equally likely. They sum to one.
    log_predictive : Tensor, shape (n_contexts, n_next)
        log p(y | x) in nats, −inf where impossible.
    posterior : Posterior
        log p(c | x): marginals, and the joint unless it was declined.
    vocabulary : int
        Number of token values, possible or not.
    """

    contexts: Contexts
    probabilities: Tensor
    log_predictive: Tensor
    posterior: Posterior
    vocabulary: int

    def __len__(self) -> int:
        return len(self.contexts)


def enumerate_contexts(
    model: Model,
    lengths: int | tuple[int, int],
    *,
    site: str = "y",
    joint: bool = True,
    values: Mapping[str, Any] | None = None,
    most: int = MOST_CONTEXTS,
) -> EnumeratedContexts:
    """List every context of a length, or of all lengths from shortest to longest.

    Parameters
    ----------
    model
        A Pyro program for one context; see :func:`~concept_ppl.compile_model`.
    lengths
        Number of tokens, or the shortest and the longest, every length equally likely.
    site
        The next token: a site of the program, or ``x`` for the next token of the context itself.
    joint
        Also answer the joint posterior of all concepts.
    values
        Values of continuous sites and parameters.
    most
        Refuse to list more contexts than this.

    Raises
    ------
    InputError
        If there are too many contexts, the lengths are no lengths, or there is no such site.
    """
    shortest, longest = (lengths, lengths) if isinstance(lengths, int) else lengths
    if not 0 <= shortest <= longest:
        raise InputError(f"lengths must be 0 or more, shortest first, not {shortest} to {longest}.")
    vocabulary = compile_model(model, max(longest, 1), values=values).vocabulary_size
    n_contexts = sum(vocabulary**length for length in range(shortest, longest + 1))
    if n_contexts > most:
        raise InputError(
            f"{vocabulary} token values make {n_contexts:,} contexts of {shortest} to {longest} "
            f"tokens, {most:,} are allowed; use fewer tokens or a smaller vocabulary."
        )
    every = Contexts.concatenate(
        [_all_of_length(vocabulary, length) for length in range(shortest, longest + 1)]
    )
    answer = posterior(model, every, joint=joint, values=values, impossible="mark")
    possible = ~torch.isneginf(answer.log_evidence)
    if not possible.all():
        every = every.take(np.flatnonzero(possible.numpy(force=True)))
        answer = posterior(model, every, joint=joint, values=values)
    return EnumeratedContexts(
        contexts=every,
        probabilities=answer.log_evidence.exp() / (longest - shortest + 1),
        log_predictive=predictive(model, every, site=site, values=values),
        posterior=answer,
        vocabulary=vocabulary,
    )


def _all_of_length(vocabulary: int, length: int) -> Contexts:
    """Return all contexts of one length, the last token fastest."""
    numbers = np.arange(vocabulary**length)
    places = vocabulary ** np.arange(length - 1, -1, -1, dtype=np.int64)
    tokens: NDArray[np.int64] = numbers[:, None] // places % vocabulary
    return Contexts.from_padded(tokens)
