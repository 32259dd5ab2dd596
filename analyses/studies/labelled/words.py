"""A Pyro model of labelled texts: which words each label brings, learned from half of the texts.

Each word of a text comes from one of its labels: with probability π_s the label s is its source,
and the word is drawn from θ_s(· | value of s). With one label this is a bag of words. θ has a
Dirichlet prior around the words' overall frequencies q, with concentration κ, so that with one
label θ(w | k) = (n_kw + κ q(w)) / (n_k + κ), the posterior mean; with several, the same formula is
iterated with the expected counts of each source (EM). κ is the one under which texts that were left
out of the fit are most probable, by folds inside the training half.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro.ops.indexing import Vindex

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError

from .texts import LabelledTexts, words_of

Array = NDArray[np.float64]

CONCENTRATIONS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
N_FOLDS = 5
MOST_ITERATIONS = 500
CONVERGED = 1e-8
"""Largest change of log p a word, nats, at which EM stops."""
MOST_CELLS = 50_000_000


@dataclass(frozen=True, eq=False)
class LabelledWords:
    """The fitted model.

    Attributes
    ----------
    labels
        Label → its values.
    words
        The vocabulary, ``n_words``.
    prior
        p(labels), one axis a label.
    shares
        π, how many of the words each label brings; ``(n_labels,)``.
    tables
        For each label θ, ``(n_values, n_words)``.
    concentration
        κ.
    n_training
        Texts that it was fitted to.
    """

    labels: dict[str, tuple[str, ...]]
    words: tuple[str, ...] = field(repr=False)
    prior: Array = field(repr=False)
    shares: Array
    tables: tuple[Array, ...] = field(repr=False)
    concentration: float
    n_training: int

    def emission(self) -> Array:
        """Return p(word | all labels), an axis for each label and one for the words."""
        shape = (*self.prior.shape, len(self.words))
        mixed = np.zeros(shape)
        for axis, (share, table) in enumerate(zip(self.shares, self.tables, strict=True)):
            at = [1] * len(self.labels) + [len(self.words)]
            at[axis] = len(table)
            mixed += share * table.reshape(at)
        return mixed

    def program(self) -> Callable[[int], None]:
        """Return the Pyro program: labels one after the other, then words given all of them."""
        names = list(self.labels)
        steps = [torch.as_tensor(np.log(table)) for table in _chain(self.prior)]
        emission = torch.as_tensor(np.log(self.emission()))

        def model(n_tokens: int) -> None:
            values: list[torch.Tensor] = []
            for name, table in zip(names, steps, strict=True):
                logits = Vindex(table)[tuple(values)] if values else table
                values.append(pyro.sample(name, dist.Categorical(logits=logits)))
            with pyro.plate("position", n_tokens):
                pyro.sample("x", dist.Categorical(logits=Vindex(emission)[tuple(values)]))

        model.labels = self.labels | {"x": self.words}  # type: ignore[attr-defined]
        return model

    def contexts(self, texts: LabelledTexts) -> Contexts:
        """Return each text's words as tokens; a word that was never seen is unobserved."""
        number = {word: index for index, word in enumerate(self.words)}
        return Contexts.from_lists(
            [number.get(word) for word in words_of(text)] for text in texts.texts
        )


def fit_words(training: LabelledTexts, seed: int = 0) -> LabelledWords:
    """Fit the model to labelled texts, the concentration chosen by folds.

    Raises
    ------
    InputError
        If the table of words given all labels would be too large.
    """
    words = tuple(sorted({word for text in training.texts for word in words_of(text)}))
    shape = tuple(len(values) for values in training.categories.values())
    if np.prod(shape) * len(words) > MOST_CELLS:
        raise InputError(
            f"{np.prod(shape):,} combinations of labels and {len(words):,} words are too many; "
            "name fewer columns with --labels."
        )
    counts = _counts(training, words)
    cells = np.stack(list(training.labels.values()), axis=1)
    concentration = _choose(counts, cells, shape, training.clusters, seed)
    shares, tables = _em(counts, cells, shape, concentration)
    prior = np.full(shape, 0.5)
    np.add.at(prior, tuple(cells.T), 1.0)
    return LabelledWords(
        dict(training.categories),
        words,
        prior / prior.sum(),
        shares,
        tables,
        concentration,
        len(training),
    )


def _counts(texts: LabelledTexts, words: tuple[str, ...]) -> Array:
    """Count words by text, ``(n_texts, n_words)``."""
    number = {word: index for index, word in enumerate(words)}
    counts = np.zeros((len(texts), len(words)))
    for row, text in enumerate(texts.texts):
        for word in words_of(text):
            counts[row, number[word]] += 1
    return counts


def _choose(
    counts: Array,
    cells: NDArray[np.int64],
    shape: tuple[int, ...],
    clusters: NDArray[np.int64],
    seed: int,
) -> float:
    """Return the concentration under which left-out texts are most probable given their labels."""
    distinct, numbers = np.unique(clusters, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(distinct)) % N_FOLDS)[numbers]
    scores = []
    for concentration in CONCENTRATIONS:
        score = 0.0
        for out in range(N_FOLDS):
            kept = fold != out
            shares, tables = _em(counts[kept], cells[kept], shape, concentration)
            left = counts[~kept]
            p = sum(
                share * table[cells[~kept, axis]]
                for axis, (share, table) in enumerate(zip(shares, tables, strict=True))
            )
            score += float((left * np.log(p)).sum())
        scores.append(score)
    return CONCENTRATIONS[int(np.argmax(scores))]


def _em(
    counts: Array,
    cells: NDArray[np.int64],
    shape: tuple[int, ...],
    concentration: float,
) -> tuple[Array, tuple[Array, ...]]:
    """Return shares and tables at the posterior mode; with one label in closed form."""
    # One more of every word: none is impossible, those that these texts lack included.
    overall = (counts.sum(axis=0) + 1) / (counts.sum() + counts.shape[1])
    combinations, cell = np.unique(cells, axis=0, return_inverse=True)
    totals = np.zeros((len(combinations), counts.shape[1]))
    np.add.at(totals, cell.reshape(-1), counts)
    n_labels = len(shape)
    shares = np.full(n_labels, 1 / n_labels)
    tables = [
        _smoothed(_by_value(totals, combinations[:, axis], size), overall, concentration)
        for axis, size in enumerate(shape)
    ]
    before = -np.inf
    for _ in range(MOST_ITERATIONS if n_labels > 1 else 0):
        parts = [
            share * table[combinations[:, axis]]
            for axis, (share, table) in enumerate(zip(shares, tables, strict=True))
        ]
        whole = np.sum(parts, axis=0)
        now = float((totals * np.log(whole)).sum() / totals.sum())
        expected = [totals * part / whole for part in parts]
        shares = np.array([part.sum() for part in expected]) / totals.sum()
        tables = [
            _smoothed(_by_value(part, combinations[:, axis], size), overall, concentration)
            for axis, (part, size) in enumerate(zip(expected, shape, strict=True))
        ]
        if abs(now - before) < CONVERGED:
            break
        before = now
    return shares, tuple(tables)


def _by_value(totals: Array, values: NDArray[np.int64], n_values: int) -> Array:
    """Add up counts ``(n_cells, n_words)`` over the cells that share a label's value."""
    table = np.zeros((n_values, totals.shape[1]))
    np.add.at(table, values, totals)
    return table


def _smoothed(counts: Array, overall: Array, concentration: float) -> Array:
    total = counts.sum(axis=1, keepdims=True)
    smoothed: Array = (counts + concentration * overall) / (total + concentration)
    return smoothed


def _chain(prior: Array) -> list[Array]:
    """Return p(first label), p(second | first), … of a joint table."""
    marginals = [prior.sum(axis=tuple(range(axis + 1, prior.ndim))) for axis in range(prior.ndim)]
    return [marginals[0], *(after / before[..., None] for before, after in pairwise(marginals))]
