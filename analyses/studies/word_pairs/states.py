"""What a study of word pairs reads from a language model: states of single words, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.bridge import (
    LanguageModel,
    WordStates,
    load_language_model,
    read_words,
    spread_sites,
    unembedding_rows,
)

BAG = "embedding.sum"
TokenIds = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class ModelWords:
    """Everything that the analyses need of one language model.

    Attributes
    ----------
    name
        What the page calls it.
    sites
        Sites of the layer curve, in the order in which the model computes them.
    trained, untrained
        Site → (n_words, width) of the model, and of the same architecture with random weights.
    tokens
        The words' own token ids, without the prefix; none for a word that cannot be read.
    unembedding
        (n_words, width) row of each word that is one token, in the causal metric; NaN for others.
    causal
        (width, width) the root of the covariance of unembedding rows, which turns states into the
        space that is dual to it.
    skipped
        Words that cannot be read, and why.
    sinks
        Site → how many words' states are attention sinks, ten times the median norm.
    provenance
        Of the states.
    """

    name: str
    sites: tuple[str, ...]
    trained: Mapping[str, NDArray[np.float32]]
    untrained: Mapping[str, NDArray[np.float32]]
    tokens: TokenIds
    unembedding: NDArray[np.float64]
    causal: NDArray[np.float64]
    skipped: Mapping[str, str]
    sinks: Mapping[str, int]
    provenance: dict[str, Any]

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """(n_words,) tokens of each word."""
        return np.array([len(own) for own in self.tokens], dtype=np.int64)

    def take(self, rows: NDArray[np.int64]) -> "ModelWords":
        """Keep these words, in this order."""
        return replace(
            self,
            trained={site: states[rows] for site, states in self.trained.items()},
            untrained={site: states[rows] for site, states in self.untrained.items()},
            tokens=tuple(self.tokens[row] for row in rows),
            unembedding=self.unembedding[rows],
        )


def read_model(
    source: str,
    words: tuple[str, ...],
    *,
    name: str,
    n_blocks: int,
    seed: int,
    device: str,
    stage: Stage,
) -> ModelWords:
    """Read the states of single words, each behind the model's first token and a space.

    Parameters
    ----------
    source
        As `load_language_model` takes it.
    words
        Distinct words.
    name
        What the page calls the model.
    n_blocks
        How many blocks to read, evenly spaced.
    seed, device
        Of the random weights; where the model runs.
    stage
        Shows how far the work is.
    """
    with stage(f"load {name}"):
        model = load_language_model(source, device=device)
    sites = spread_sites(model, n_blocks)
    trained = _read(model, words, sites, stage, f"read words with {name}")
    unembedding, causal = _unembedding(model, trained, len(words))
    del model
    with stage("draw random weights"):
        random = load_language_model(source, device=device, random_weights=seed)
    untrained = _read(random, words, sites, stage, "read words with random weights")
    tokens: list[tuple[int, ...]] = [()] * len(words)
    for row, own in zip(trained.kept, trained.token_ids, strict=True):
        tokens[row] = own
    return ModelWords(
        name=name,
        sites=sites,
        trained=_for_all(trained, len(words)),
        untrained=_for_all(untrained, len(words)),
        tokens=tuple(tokens),
        unembedding=unembedding,
        causal=causal,
        skipped=trained.skipped,
        sinks={site: int(trained.sinks(site).sum()) for site in sites},
        provenance=trained.states.provenance,
    )


def _read(
    model: LanguageModel, words: tuple[str, ...], sites: tuple[str, ...], stage: Stage, name: str
) -> WordStates:
    with stage(name) as progress:
        return read_words(model, list(words), sites=(*sites, BAG), progress=progress)


def _for_all(states: WordStates, n_words: int) -> dict[str, NDArray[np.float32]]:
    """Site → states of all words; zeros for words that cannot be read, whose pairs are dropped."""
    found = {}
    for site in states.states.sites:
        table = np.zeros((n_words, states.states.width), dtype=np.float32)
        table[states.kept] = states[site]
        found[site] = table
    return found


def _unembedding(
    model: LanguageModel, states: WordStates, n_words: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of one-token words in the causal metric of Park et al., and the root of that metric.

    The inner product of unembedding rows is γ' Cov(γ)⁻¹ γ, over the whole vocabulary, and its dual,
    for states, h' Cov(γ) h (https://arxiv.org/abs/2311.03658): rows are multiplied with the inverse
    root of the covariance and states with the root, which leaves γ'h as it is.
    """
    n_vocabulary = len(model.anatomy.unembedding_maps[-1].get_parameter("weight"))
    table = unembedding_rows(model, np.arange(n_vocabulary)).astype(np.float64)
    table -= table.mean(axis=0)
    values, vectors = np.linalg.eigh(table.T @ table / n_vocabulary)
    values = np.maximum(values, 1e-8 * values[-1])
    root, inverse = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
    rows = np.full((n_words, table.shape[1]), np.nan)
    single = states.n_tokens == 1
    rows[states.kept[single]] = table[states.last_tokens[single]] @ inverse
    return rows, root
