"""At which token does a context become impossible? For the message that refuses it."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.exact.answers import Wanted
from concept_ppl.programs.factors import FactorGraph

from .batches import Part
from .engines import answer_chunks
from .plans import make_plan

MOST_NAMED = 5
"""Rows whose token is looked for and named."""
SMOOTHING = (
    "where the model was fitted and its texts never held the token, fit it with a prior that "
    "smooths, as dist.Dirichlet(torch.full((…), 1.1)) by em or map"
)


@dataclass(frozen=True)
class Impossibility:
    """Why one context has probability zero.

    Attributes
    ----------
    row : int
    position : int or None
        Of the first token at which the context cannot go on, from 0; None if it is none of them:
        what is given of the concepts contradicts the model by itself.
    token : int or None
    label : str
        The token's name, where the model has one.
    """

    row: int
    position: int | None = None
    token: int | None = None
    label: str = ""

    def __str__(self) -> str:
        if self.position is None:
            return f"row {self.row}, whatever its tokens"
        name = f" ('{self.label}')" if self.label else ""
        return f"row {self.row} at position {self.position}, token {self.token}{name}"


class ImpossibleContextError(InputError):
    """Contexts that the model cannot produce: p(x) = 0, so there is no posterior.

    Attributes
    ----------
    rows : int64 array
        Their row numbers, from 0.
    reasons : tuple of Impossibility
        Of the first of them.
    """

    def __init__(
        self,
        model: str,
        rows: NDArray[np.int64],
        reasons: tuple[Impossibility, ...] = (),
        *,
        can_be_marked: bool = False,
    ) -> None:
        first = [str(reason) for reason in reasons] or [f"row {row}" for row in rows[:MOST_NAMED]]
        more = f" and {len(rows) - len(first):,} more" if len(rows) > len(first) else ""
        count = "1 context has" if len(rows) == 1 else f"{len(rows):,} contexts have"
        marking = (
            "mark them (impossible='mark', on the command line --impossible mark), or "
            * can_be_marked
        )
        super().__init__(
            f"{count} probability zero under model {model}: {'; '.join(first)}{more}; {marking}"
            f"{SMOOTHING}."
        )
        self.rows = rows
        self.reasons = reasons


def first_reasons(part: Part, impossible: NDArray[np.bool_], most: int) -> list[Impossibility]:
    """Look for the token that makes each of the first impossible contexts of a part impossible.

    Parameters
    ----------
    part
        Rows of a batch.
    impossible
        Which of its distinct contexts are, shape (n_distinct,).
    most
        How many rows to explain.
    """
    places = np.flatnonzero(impossible[part.inverse])[:most]
    return [_reason(part, int(place)) for place in places]


def _reason(part: Part, place: int) -> Impossibility:
    """Find the shortest impossible beginning of a context by halving.

    What follows the beginning is left unobserved, which sums over it.
    """
    row, which = int(part.rows[place]), int(part.inverse[place])
    tokens = part.distinct.slice(which, which + 1).tokens
    possible, not_possible = -1, len(tokens)
    while not_possible - possible > 1:
        middle = (possible + not_possible) // 2
        if _is_possible(part, which, tokens, middle):
            possible = middle
        else:
            not_possible = middle
    if not_possible == 0:
        return Impossibility(row)
    token = int(tokens[not_possible - 1])
    return Impossibility(row, not_possible - 1, token, _label(part.graph, token))


def _is_possible(part: Part, which: int, tokens: NDArray[np.int64], n_observed: int) -> bool:
    beginning = np.where(np.arange(len(tokens)) < n_observed, tokens, UNOBSERVED)
    one = Contexts(beginning, np.array([len(tokens)]))
    given = {name: index[which : which + 1] for name, index in part.given.items()}
    asked = replace(part, distinct=one, given=given)
    plan = make_plan(part.graph, one, given=tuple(given), memory=np.inf)
    (answer,) = answer_chunks(asked, plan, Wanted())
    return not bool(torch.isneginf(answer.log_evidence[0]))


def _label(graph: FactorGraph, token: int) -> str:
    return graph.token_labels[token] if graph.token_labels is not None else ""
