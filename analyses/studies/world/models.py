"""What a study of a world reads of one language model, and asks of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses import Diversity, ReaderFamily, diversity_condition
from concept_ppl.analyses.studies.stages.announcements import Progress, Stage
from concept_ppl.analyses.studies.stages.model_states import (
    HEADLINE,
    ModelStates,
    read_model_states,
)
from concept_ppl.analyses.studies.stages.own_posteriors import (
    NextWord,
    OwnPosterior,
    ask_own_posterior,
)
from concept_ppl.analyses.studies.stages.state_analyses import (
    RANDOM_WEIGHTS,
    Design,
    StateAnalyses,
)
from concept_ppl.bridge import LanguageModel, States, read_tokens, unembedding_rows
from concept_ppl.distributed import Crew
from concept_ppl.errors import InputError

from .next_words import read_next_word
from .plan import WorldStudy
from .texts import WorldTexts


@dataclass(frozen=True)
class Vocabulary:
    """How diverse the unembedding is: the condition under which the claim is proved.

    Attributes
    ----------
    whole, own
        Of all tokens, and of those that the world's texts and next words are made of; None where
        there is one such token alone.
    participation
        (Σ λ)² / Σ λ² of the variances λ of all token vectors: in how many directions they spread.
    """

    whole: Diversity
    own: Diversity | None
    participation: float


@dataclass(frozen=True)
class ReadModel:
    """A language model's states, its next words, and what its own unembedding says.

    In place of next words, the model's and its twin's with random weights, there may be a sentence
    that says why there are none.
    """

    states: ModelStates
    vocabulary: Vocabulary
    next_word: NextWord | str
    next_word_of_twin: NextWord | str

    @property
    def name(self) -> str:
        """What the page calls it."""
        return self.states.name

    @property
    def provenance(self) -> dict[str, Any]:
        """Where its states come from."""
        return self.states.provenance


@dataclass(frozen=True)
class ModelAnswers:
    """The analyses of one model.

    ``own`` is its own posterior, or why there is none; ``twin`` that of random weights.
    """

    states: StateAnalyses
    vocabulary: Vocabulary
    own: OwnPosterior | str
    twin: OwnPosterior | str

    def tidy(self) -> pd.DataFrame:
        """Return every number, one row each."""
        frames = [self.states.tidy()]
        if isinstance(self.own, OwnPosterior):
            frames.append(self.own.tidy())
        if isinstance(self.twin, OwnPosterior):
            frames.append(self.twin.tidy().assign(control=RANDOM_WEIGHTS))
        return pd.concat(frames, ignore_index=True).replace([np.inf, -np.inf], np.nan)


def read_model(
    study: WorldStudy,
    texts: WorldTexts,
    source: str,
    name: str,
    stage: Stage,
    crew: Crew | None = None,
) -> ReadModel:
    """Read a language model's states of the texts, and ask its unembedding while it is loaded."""
    vocabulary: list[Vocabulary] = []
    next_words: list[NextWord | str] = []

    def while_loaded(model: LanguageModel, read: States) -> None:
        next_words.append(read_next_word(model, read[HEADLINE], texts))
        if not vocabulary:
            vocabulary.append(vocabulary_of(model, texts))

    states = read_model_states(
        source,
        texts.texts,
        name=name,
        n_blocks=study.n_blocks,
        sites=study.sites,
        where=texts.where,
        seed=study.seed,
        device=study.device,
        stage=stage,
        crew=crew,
        while_loaded=while_loaded,
    )
    return ReadModel(states, vocabulary[0], *next_words)


def vocabulary_of(language_model: LanguageModel, texts: WorldTexts) -> Vocabulary:
    """Measure the diversity condition on the unembedding, whole and on the world's words."""
    rows = unembedding_rows(language_model, np.arange(language_model.n_embeddings))
    words = [f" {word}" for word in texts.next_words or ()]
    own = np.unique(read_tokens(language_model, [*texts.texts, *words]).tokens)
    variances = np.linalg.eigvalsh(np.cov(rows.astype(np.float64), rowvar=False))
    return Vocabulary(
        diversity_condition(rows),
        diversity_condition(rows[own]) if len(own) > 1 else None,
        float(variances.sum() ** 2 / np.square(variances).sum()),
    )


def ask_model(
    model: ReadModel,
    texts: WorldTexts,
    controls: Mapping[str, ReaderFamily | NDArray[np.float32]],
    design: Design,
    progress: Progress,
) -> ModelAnswers:
    """Hold a model's states against the exact posterior, beside every control."""
    for name, one in controls.items():
        if isinstance(one, np.ndarray) and len(one) != len(texts.posterior):
            raise InputError(
                f"control {name} has {len(one):,} rows, {len(texts.posterior):,} states are read."
            )
    states = model.states.analyse(
        texts.posterior, design, values=texts.values, controls=controls, progress=progress
    )
    own = ask_own_posterior(model.next_word, model.states.trained[HEADLINE], texts.log_p, design)
    random_states = model.states.untrained[HEADLINE]
    twin = ask_own_posterior(model.next_word_of_twin, random_states, texts.log_p, design)
    return ModelAnswers(states, model.vocabulary, own, twin)
