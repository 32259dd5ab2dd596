"""The words of a world: what a context reads like, what may follow it, and how likely each is.

A world with a next-token site ``y`` names what follows. A world without one whose texts end in a
token that tells nothing ("and so on.") is read before that token; what may stand there follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.contexts.posterior_tables import concept_columns
from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.inference.queries import predictive
from concept_ppl.inference.simulation import simulate
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_model

Array = NDArray[np.float64]
Tokens = NDArray[np.int64]

NEXT_SITE = "y"
CLOSING_MARKS = ",.;:!?"
MOST_FOLLOWING = 1024
"""More words than this that may follow are refused: each is weighed behind every context."""


@dataclass(frozen=True, eq=False)
class WorldWords:
    """A world whose tokens have names, and the concept that is read.

    Attributes
    ----------
    model
        The Pyro program.
    concept
        Whose posterior is asked for.
    tokens : tuple of str
        The text of each value of a token.
    following : tuple of str
        The text of each word that may follow a context.
    closing
        Whether what follows is read before the last token of a text, for want of a site ``y``.
    values : tuple of int
        Where that is so, the token values that ``following`` names.
    """

    model: Model
    concept: str
    tokens: tuple[str, ...]
    following: tuple[str, ...]
    closing: bool = False
    values: tuple[int, ...] = ()

    def read(self, texts: Contexts) -> Contexts:
        """Return the part of each text at whose end the state is read."""
        if not self.closing:
            return texts
        last = np.cumsum(texts.lengths) - 1
        return Contexts(np.delete(texts.tokens, last), texts.lengths - 1)

    def sentences(self, contexts: Contexts) -> list[str]:
        """Return each context as text, its tokens joined by spaces."""
        names = np.array(self.tokens, dtype=object)[contexts.tokens]
        ends = np.cumsum(contexts.lengths)
        return [" ".join(names[a:b]) for a, b in zip(contexts.offsets, ends, strict=True)]

    def log_posterior(self, texts: Contexts) -> pd.DataFrame:
        """Return the exact posterior of the concept, columns ``log_p.<concept>.<value>``."""
        table = posterior(self.model, texts).to_frame()
        return table[concept_columns(table)[self.concept]]

    def log_predictive(self, texts: Contexts) -> Array:
        """Return Bayes's log p(following word | what was read), nats, (n_texts, n_following).

        Before a closing token, a word is as likely as the text that it would have made.
        """
        if not self.closing:
            return np.asarray(predictive(self.model, texts).numpy(force=True))
        n, k = len(texts), len(self.values)
        longer = _with_each(texts, self.values)
        evidence = posterior(self.model, longer, impossible="mark").log_evidence
        log_p = evidence.numpy(force=True).reshape(n, k)
        return np.asarray(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))


def world_words(model: Model) -> WorldWords:
    """Find the words of a world.

    Parameters
    ----------
    model
        A Pyro program with ``labels["x"]``. The concept is its attribute ``concept``, else its
        only one.

    Raises
    ------
    InputError
        If tokens have no names or names that are not distinct, no concept is named among several,
        the words that may follow have no names, or nothing can follow.
    """
    shortest, longest = getattr(model, "lengths", (1, 8))
    graph = compile_model(model, longest, lengths=())
    tokens = _token_names(graph)
    concept = _concept(model, graph)
    if NEXT_SITE in graph.next_tokens:
        return WorldWords(model, concept, tokens, _following(model, graph, tokens))
    if concept in graph.moving:
        raise InputError(
            f"model {graph.name} has no next-token site y, and its concept {concept} moves; only "
            "a concept that stays can be read before the last token."
        )
    values = _before_the_end(model, graph, max(shortest, 3))
    names = tuple(tokens[value] for value in values)
    return WorldWords(model, concept, tokens, names, closing=True, values=values)


def _token_names(graph: FactorGraph) -> tuple[str, ...]:
    names = graph.token_labels
    if names is None:
        raise InputError(
            f"model {graph.name} gives its tokens no text; a language model reads words, so set "
            'model.labels["x"].'
        )
    if len(set(names)) < len(names):
        raise InputError(f"model {graph.name} gives two tokens the same text; make them differ.")
    return tuple(names)


def _concept(model: Model, graph: FactorGraph) -> str:
    named = getattr(model, "concept", None)
    if named is None and len(graph.reported) == 1:
        return next(iter(graph.reported))
    if named not in graph.reported:
        raise InputError(
            f"model {graph.name} has the concepts {', '.join(graph.reported)}; say which is read "
            "by its attribute concept."
        )
    return str(named)


def _following(model: Model, graph: FactorGraph, tokens: Sequence[str]) -> tuple[str, ...]:
    """Name the values of ``y``: its own labels, else those of the concept that it tells of.

    A label that is also a token of the context, maybe with a closing mark, is written as that
    token: the texts end as they would have gone on.
    """
    factor = graph.next_tokens[NEXT_SITE]
    own = getattr(model, "labels", {}).get(NEXT_SITE)
    parents = [graph.reported[name] for name in factor.scope if name in graph.reported]
    if own is None and len(parents) == 1 and parents[0].size == factor.table.shape[-1]:
        own = parents[0].labels
    if own is None or len(own) != factor.table.shape[-1]:
        raise InputError(
            f"model {graph.name} gives the values of y no text; a language model predicts words, "
            'so set model.labels["y"].'
        )
    written = {token.rstrip(CLOSING_MARKS): token for token in reversed(tokens)}
    return tuple(written.get(str(label), str(label)) for label in own)


def _before_the_end(model: Model, graph: FactorGraph, length: int) -> tuple[int, ...]:
    """Return the token values that can stand before the last token of a text."""
    if graph.vocabulary_size > MOST_FOLLOWING:
        raise InputError(
            f"model {graph.name} has {graph.vocabulary_size:,} tokens, and {MOST_FOLLOWING:,} can "
            "be weighed behind each context; build it with fewer."
        )
    one = Contexts.from_lists([simulate(model, 1, lengths=length)["x"][0]])
    every = tuple(range(graph.vocabulary_size))
    evidence = posterior(model, _with_each(one, every), impossible="mark").log_evidence
    values = tuple(np.flatnonzero(np.isfinite(evidence.numpy(force=True))).tolist())
    if len(values) < 2:
        raise InputError(
            f"model {graph.name} has no next-token site y, and fewer than two tokens can stand "
            "before the last one; there is nothing to predict."
        )
    return values


def _with_each(texts: Contexts, values: Sequence[int]) -> Contexts:
    """Put each value before the last token of each text; the texts of one context in a row."""
    n, k = len(texts), len(values)
    repeated = texts.take(np.repeat(np.arange(n), k))
    last = np.cumsum(repeated.lengths) - 1
    tokens = np.insert(repeated.tokens, last, np.tile(np.array(values, np.int64), n))
    return Contexts(tokens, repeated.lengths + 1)
