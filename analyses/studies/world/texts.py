"""What a world draws: texts, where they are read, exact posteriors there, and the next word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses import TokenRows, token_rows
from concept_ppl.analyses.studies.stages.announcements import Progress
from concept_ppl.analyses.studies.stages.model_states import Where
from concept_ppl.contexts.posterior_tables import concept_columns
from concept_ppl.contexts.tokens import Contexts, as_contexts
from concept_ppl.errors import InputError
from concept_ppl.inference import (
    Posterior,
    posterior,
    predictive,
    simulate,
)
from concept_ppl.programs import Model

from .plan import ALL, LAST, WorldStudy

Array = NDArray[np.float64]
FEWEST_ROWS = 50


@dataclass(frozen=True, eq=False)
class WorldTexts:
    """The texts of a study and all that is exact about them.

    Attributes
    ----------
    model
        The world.
    concepts
        Those that are read.
    frame
        The simulated contexts: columns x, text, the concepts' true values.
    contexts
        Their tokens.
    rows
        Tokens and where they are read: m rows.
    where
        The same in characters of the texts, for a language model.
    posterior
        A posterior table of m rows.
    values
        For each concept its true value in every row.
    clusters
        (m,) number of the distinct context of each row.
    log_next
        (m, V) Bayes's log-predictive of the next word after each row, in nats; None where the world
        has no next word there.
    next_words
        The V next words; None where they have no text.
    """

    model: Model
    concepts: tuple[str, ...]
    frame: pd.DataFrame
    contexts: Contexts
    rows: TokenRows
    where: Where
    posterior: pd.DataFrame
    values: dict[str, list[str]]
    clusters: NDArray[np.int64]
    log_next: Array | None
    next_words: tuple[str, ...] | None

    @property
    def texts(self) -> list[str]:
        """The texts, a context each."""
        return list(self.frame["text"])

    @property
    def log_p(self) -> list[Array]:
        """Log-probabilities (m, K) of each concept that is read."""
        columns = concept_columns(self.posterior)
        return [self.posterior[columns[name]].to_numpy(np.float64) for name in self.concepts]


def words_of(model: Model, world: str) -> tuple[str, ...]:
    """Return the text of every token.

    Raises
    ------
    InputError
        If the world's tokens have no text, or an empty one.
    """
    words = getattr(model, "labels", {}).get("x")
    if words is None:
        raise InputError(
            f"the tokens of world {world} have no text, so no language model can read them; give "
            f"the model an attribute labels whose entry 'x' lists a word for each token."
        )
    empty = [i for i, word in enumerate(words) if not word.strip() or word != word.strip()]
    if empty:
        raise InputError(
            f"token {empty[0]} of world {world} is {words[empty[0]]!r}; its text must neither be "
            f"empty nor begin or end in a space."
        )
    return tuple(words)


def draw_texts(study: WorldStudy, model: Model, progress: Progress) -> WorldTexts:
    """Draw contexts, find where they are read, and compute what is exact there.

    Raises
    ------
    InputError, ModelError
        If the world has no text, no such token, or a concept of one value alone.
    """
    words = words_of(model, study.world)
    frame = simulate(model, study.n_contexts, seed=study.seed)
    contexts = as_contexts(frame)
    read = _read_places(study, contexts, words)
    rows = token_rows(contexts.tokens, contexts.lengths, read)
    answer = posterior(model, contexts, filtered=study.read != LAST, progress=progress)
    concepts = _concepts(model, answer, study.world)
    log_next, next_words = _next_word(model, contexts, rows, words)
    return WorldTexts(
        model,
        concepts,
        frame,
        contexts,
        rows,
        _where(study, frame, words, rows),
        _posterior_table(answer, concepts, rows, study.read),
        {name: _values_at(frame[name], rows) for name in concepts},
        contexts.unique()[1][rows.context],
        log_next,
        next_words,
    )


def _read_places(study: WorldStudy, contexts: Contexts, words: Sequence[str]) -> NDArray[np.int64]:
    ends = np.cumsum(contexts.lengths)
    if contexts.lengths.min() < 1:
        raise InputError(f"world {study.world} draws empty contexts; give it longer ones.")
    if study.read == LAST:
        return np.asarray(ends - 1)
    position = np.arange(len(contexts.tokens)) - np.repeat(contexts.offsets, contexts.lengths)
    is_read = position >= study.first - 1
    if study.read != ALL:
        if study.read not in words:
            shown = ", ".join(words[:8]) + (", …" if len(words) > 8 else "")
            raise InputError(
                f"world {study.world} has no token '{study.read}' to read at; its tokens are "
                f"{shown}, and 'last' and 'all' are understood, too."
            )
        is_read &= contexts.tokens == list(words).index(study.read)
    places = np.flatnonzero(is_read)
    if len(places) < FEWEST_ROWS:
        raise InputError(
            f"{len(places)} tokens are read in {len(contexts):,} contexts of world {study.world}; "
            f"at least {FEWEST_ROWS} are needed, so draw more contexts or read elsewhere."
        )
    return places


def _where(study: WorldStudy, frame: pd.DataFrame, words: Sequence[str], rows: TokenRows) -> Where:
    """Return where a language model is to be read: at the last letter of each word that is read."""
    if study.read == LAST:
        return Where()
    lengths = np.array([len(word) for word in words])[rows.tokens] + 1
    starts = np.cumsum(lengths) - lengths
    within = starts - np.repeat(starts[rows.offsets], rows.lengths)
    ends = within + lengths - 2
    marks: list[list[int]] = [[] for _ in frame["text"]]
    for context, place in zip(rows.context, rows.read, strict=True):
        marks[context].append(int(ends[place]))
    return Where("marks", marks)


def _concepts(model: Model, answer: Posterior, world: str) -> tuple[str, ...]:
    known = [concept.name for concept in answer.concepts]
    asked = getattr(model, "concept", None)
    names = known if asked is None else [asked]
    for concept in answer.concepts:
        if concept.name in names and concept.size < 2:
            raise InputError(
                f"concept '{concept.name}' of world {world} has one value alone, so there is "
                f"nothing to know of it."
            )
    return tuple(names)


def _posterior_table(
    answer: Posterior, concepts: Sequence[str], rows: TokenRows, read: str
) -> pd.DataFrame:
    labels = {concept.name: concept.labels for concept in answer.concepts}
    columns: dict[str, Array] = {}
    entropy = np.zeros(len(rows.read))
    for name in concepts:
        if read == LAST:
            table = answer.log_marginals[name].numpy()
        else:
            table = answer.filtered[name].numpy()[rows.read]
        columns |= {f"log_p.{name}.{label}": table[:, k] for k, label in enumerate(labels[name])}
        entropy -= (np.exp(table) * np.where(np.isneginf(table), 0.0, table)).sum(axis=1)
    return pd.DataFrame(columns | {"entropy": entropy})


def _values_at(column: pd.Series, rows: TokenRows) -> list[str]:
    """Return a concept's true value in each row; a moving one's at the place that is read."""
    position = rows.read - rows.offsets[rows.context]
    return [
        value if isinstance(value := column.iloc[context], str) else value[place]
        for context, place in zip(rows.context, position, strict=True)
    ]


def _next_word(
    model: Model, contexts: Contexts, rows: TokenRows, words: Sequence[str]
) -> tuple[Array | None, tuple[str, ...] | None]:
    """Return Bayes's log-predictive after each row, of ``y`` or one more token, and its words."""
    starts = rows.offsets[rows.context]
    parts = [contexts.tokens[a : b + 1] for a, b in zip(starts, rows.read, strict=True)]
    prefixes = Contexts(np.concatenate(parts), rows.read - starts + 1)
    distinct, inverse = prefixes.unique()
    for site in ("y", "x"):
        try:
            table = predictive(model, distinct, site=site).numpy()[inverse]
        except InputError:
            continue  # no such site; or a closing token, after which the program has nothing
        named = getattr(model, "labels", {}).get(site, words)
        return table, tuple(named) if len(named) == table.shape[1] else None
    return None, None
