"""What a fit has seen, and a digest of it: fits of other observations cannot be compared."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.errors import InputError, listed
from concept_ppl.fitting.likelihoods.program import learn_structure
from concept_ppl.programs.graph_assembly import Model

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
    model: Model, table: pd.DataFrame, contexts: Contexts, *, known: Sequence[str] = ()
) -> Observations:
    """Collect what a model reads of a table: next tokens, ``weight``, and concepts that are known.

    Parameters
    ----------
    model
        A program with something to learn.
    table
        A row for each context.
    contexts
        Its tokens.
    known
        Concepts whose values are observed: their columns hold labels, null where unknown.

    Raises
    ------
    InputError
        If a column is missing or holds something else; the message names column and row.
    """
    graph = learn_structure(model, contexts.lengths).pieces[0].template
    next_tokens = {
        name: _whole_numbers(table[name], name) for name in graph.next_tokens if name in table
    }
    given = {}
    for name in known:
        if name not in graph.concepts:
            names = listed(graph.concepts)
            raise InputError(f"model {graph.name} has no concept '{name}'; it has: {names}.")
        if name not in table:
            names = listed(table.columns)
            raise InputError(f"there is no column {name} of known values; there are: x, {names}.")
        given[name] = _label_indices(table[name], name, graph.concepts[name].labels)
    weights = _numbers(table["weight"]) if "weight" in table else None
    return Observations(contexts, next_tokens, given, weights)


def _whole_numbers(column: "pd.Series[Any]", name: str) -> NDArray[np.int64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = column.notna().to_numpy() & ~(numbers == np.floor(numbers))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"row {row}: {name} is {column.iloc[row]!r}, no whole number; give the next token's "
            f"index, null where it was not observed."
        )
    return np.where(column.notna(), numbers, UNOBSERVED).astype(np.int64)


def _label_indices(column: "pd.Series[Any]", name: str, labels: Sequence[str]) -> NDArray[np.int64]:
    index = pd.Index(labels).get_indexer(pd.Index(column.astype(object).map(str)))
    wrong = column.notna().to_numpy() & (index < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"row {row}: {name} is {column.iloc[row]!r}, none of its values {listed(labels)}."
        )
    return np.where(column.notna(), index, UNOBSERVED).astype(np.int64)


def _numbers(column: "pd.Series[Any]") -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.asarray(numbers)
