"""What tokens say of the concepts in the world itself: the best that vectors of tokens can hold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from concept_ppl.analyses import ReaderFamily, TokenRows, random_vectors, token_readers
from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.inference import posterior
from concept_ppl.programs import Model

from .model_states import named

TOKEN_EVIDENCE, PAIR_EVIDENCE = "token evidence", "pair evidence"
WORDS = "word identities"
MOST_WORDS = 256
"""Indicators of words are readers where there are no more kinds of words."""
OF_PAIRS = ("sum", "decayed sum", "bank of decays")
MOST_NATS = 30.0
"""Evidence that rules a value out counts as this much."""

Array = NDArray[np.float64]


def evidence_readers(
    model: Model, contexts: Contexts, rows: TokenRows, concepts: Sequence[str]
) -> dict[str, ReaderFamily]:
    """Return readers of what each token, and each pair of neighbours, says alone; and of words.

    Parameters
    ----------
    model
        The world.
    contexts
        Its texts, whole.
    rows
        Their tokens and where they are read.
    concepts
        Those that tokens may speak of.
    """
    alone = token_evidence(model, contexts, concepts, 1)
    of_tokens = token_readers(rows, alone)
    of_pairs = token_readers(rows, np.hstack([token_evidence(model, contexts, concepts, 2), alone]))
    found = named(TOKEN_EVIDENCE, of_tokens) | named(
        PAIR_EVIDENCE, {name: of_pairs[name] for name in OF_PAIRS}
    )
    tokens = rows.tokens
    if len(np.unique(tokens)) <= MOST_WORDS:
        found |= named(WORDS, token_readers(rows, random_vectors(tokens, width=MOST_WORDS)))
    return found


def token_evidence(model: Model, contexts: Contexts, concepts: Sequence[str], width: int) -> Array:
    """Log-odds (Σ lengths, Σ(K − 1)) of the concepts at each token, in nats.

    Given nothing but the last ``width`` tokens up to there: an exact query, whatever the program.
    """
    windows, places, owners = _windows(contexts, width)
    distinct, inverse = windows.unique()
    at = np.empty(len(distinct), np.int64)
    at[inverse] = places  # the last observed token: contexts that are alike have the same
    answer = posterior(model, distinct, smoothed=True, impossible="mark")
    tables = [answer.smoothed[name][distinct.offsets + at].numpy() for name in concepts]
    odds = np.hstack([table[:, 1:] - table[:, :1] for table in tables])
    found = np.nan_to_num(odds, nan=0.0, posinf=MOST_NATS, neginf=-MOST_NATS)[inverse]
    return np.asarray(np.clip(found, -MOST_NATS, MOST_NATS)[np.argsort(owners, kind="stable")])


def _windows(
    contexts: Contexts, width: int
) -> tuple[Contexts, NDArray[np.int64], NDArray[np.int64]]:
    """Contexts in which no token is observed but a few neighbours: one for each token.

    With the place of the last observed token, and that token's number among all.
    """
    lengths = np.repeat(contexts.lengths, contexts.lengths)
    offsets = np.repeat(contexts.offsets, contexts.lengths)
    owners = np.arange(len(contexts.tokens))
    places = owners - offsets
    starts = np.cumsum(lengths) - lengths
    tokens = np.full(int(lengths.sum()), UNOBSERVED)
    for back in range(width):
        has = places >= back
        tokens[starts[has] + places[has] - back] = contexts.tokens[owners[has] - back]
    return Contexts(tokens, lengths), places, owners
