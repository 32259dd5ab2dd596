"""What a fit has seen, and a digest of it: fits of other observations cannot be compared."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.contexts import UNOBSERVED, Contexts, as_contexts
from concept_ppl.tracing import Model, compile_model

Indices = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Observations:
    """Tokens, and whatever else entered log p of each context.

    Attributes
    ----------
    contexts : Contexts
    next_tokens : mapping of str to int64 array, shape (n_contexts,)
        By site; −1 where unobserved.
    given : mapping of str to int64 array, shape (n_contexts,)
        Known values of concepts, by their index; −1 where unknown.
    weights : float64 array, shape (n_contexts,), or None
    """

    contexts: Contexts
    next_tokens: Indices = field(default_factory=dict)
    given: Indices = field(default_factory=dict)
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.contexts)

    @property
    def digest(self) -> str:
        """SHA-256 of every number, in the order of the contexts."""
        found = hashlib.sha256()
        parts: list[tuple[str, NDArray[Any]]] = [
            ("lengths", self.contexts.lengths),
            ("x", self.contexts.tokens),
            *((f"next {name}", values) for name, values in sorted(self.next_tokens.items())),
            *((f"given {name}", values) for name, values in sorted(self.given.items())),
        ]
        if self.weights is not None:
            parts.append(("weights", self.weights))
        for name, values in parts:
            kind = "<f8" if name == "weights" else "<i8"
            found.update(f"{name}:{len(values)};".encode())
            found.update(np.ascontiguousarray(values, kind).tobytes())
        return found.hexdigest()


def observations(
    model: Model,
    tokens: pd.DataFrame | Contexts | Any,
    values: Mapping[str, Any],
    *,
    given: Mapping[str, Any] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> Observations:
    """Collect what a fit of a model to a table of tokens reads.

    Parameters
    ----------
    model, tokens
        As they were fitted; of a table, the columns of next-token sites and ``weight`` count.
    values
        Parameters, without which the program cannot be run.
    given, weights
        As they were fitted.
    """
    contexts = as_contexts(tokens)
    next_tokens, own = {}, weights
    if isinstance(tokens, pd.DataFrame):
        graph = compile_model(model, max(contexts.longest, 1), values=values, lengths=())
        next_tokens = {
            name: np.where(tokens[name].isna(), UNOBSERVED, tokens[name]).astype(np.int64)
            for name in graph.next_tokens
            if name in tokens
        }
        if own is None and "weight" in tokens:
            own = tokens["weight"].to_numpy(np.float64)
    known = {name: np.asarray(index, np.int64) for name, index in (given or {}).items()}
    return Observations(contexts, next_tokens, known, own)
