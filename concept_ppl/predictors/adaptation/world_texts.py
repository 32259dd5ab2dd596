"""Fresh texts of a world for each step of training, never repeated; and their shuffled twins.

A block of contexts is simulated at a time, from a seed that is derived from the study's seed, what
the texts are for, and the number of the block. A step's texts are therefore the same whether the
steps before it were run in this process or in one that was killed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.contexts.tokens import Contexts, as_contexts
from concept_ppl.inference.simulation import simulate
from concept_ppl.programs.graph_assembly import Model

from .world_words import NEXT_SITE

TextKind = Literal["world", "exchanged"]
KINDS: tuple[TextKind, ...] = ("world", "exchanged")
"""The world's own texts, and the same with tokens exchanged between texts."""

AT_ONCE = 16_384
"""Contexts in a block: tracing the program for every length costs more than drawing them."""

_STREAMS = {"training": 0, "held out": 1}


@dataclass(frozen=True, eq=False)
class Texts:
    """Contexts and, where the world has a site ``y``, the value that follows each.

    Attributes
    ----------
    contexts : Contexts
    following : int64 array, shape (n_contexts,), or None
    """

    contexts: Contexts
    following: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.contexts)

    def slice(self, start: int, stop: int) -> "Texts":
        """Return the texts of rows ``start`` up to ``stop``."""
        own = None if self.following is None else self.following[start:stop]
        return Texts(self.contexts.slice(start, stop), own)


def held_out_texts(model: Model, n: int, *, seed: int) -> Texts:
    """Return texts for the analyses, from seeds that no training text comes from."""
    return _drawn(model, n, _seed(seed, "held out", 0))


def training_texts(
    model: Model, step: int, batch: int, *, seed: int, kind: TextKind = "world"
) -> Texts:
    """Return the texts of a step of training, counted from 0.

    Parameters
    ----------
    model
        A Pyro program; contexts have the lengths that it names.
    step, batch
        Which step, and how many texts it has, at most `AT_ONCE`.
    seed
        Of the whole training.
    kind
        ``exchanged``: at each position the tokens of all texts of a block with the same length
        change places at random, and so do their next tokens. Each position has the tokens that it
        had; that tokens of one text belong together is lost, and with it what they tell.
    """
    steps = AT_ONCE // batch
    block = _block(model, step // steps, seed, kind)
    first = step % steps * batch
    return block.slice(first, first + batch)


@lru_cache(maxsize=2)
def _block(model: Model, number: int, seed: int, kind: TextKind) -> Texts:
    texts = _drawn(model, AT_ONCE, _seed(seed, "training", number))
    return texts if kind == "world" else exchanged(texts, seed=_seed(seed, "training", number))


def exchanged(texts: Texts, *, seed: int) -> Texts:
    """Exchange tokens between texts of equal length, at each position apart."""
    generator = np.random.default_rng(seed)
    contexts = texts.contexts
    tokens = contexts.tokens.copy()
    following = None if texts.following is None else texts.following.copy()
    for length in np.unique(contexts.lengths):
        rows = np.flatnonzero(contexts.lengths == length)
        for position in range(length):
            own = contexts.offsets[rows] + position
            tokens[own] = generator.permutation(tokens[own])
        if following is not None:
            following[rows] = generator.permutation(following[rows])
    return Texts(Contexts(tokens, contexts.lengths), following)


def _drawn(model: Model, n: int, seed: int) -> Texts:
    drawn: pd.DataFrame = simulate(model, n, seed=seed)
    following = drawn[NEXT_SITE].to_numpy(np.int64) if NEXT_SITE in drawn else None
    return Texts(as_contexts(drawn), following)


def _seed(seed: int, stream: str, number: int) -> int:
    sequence = np.random.SeedSequence([seed, _STREAMS[stream], number])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
