"""What does a language model make of single words? Their states and tokens, and what is left out.

A word is read behind the model's neutral first token and, by default, with the space that stands
before it in running text. Without the first token a word of one token would sit at position 0,
where the attention sink makes its state orders of magnitude larger, and a probe would read nothing
but the number of tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge.anatomy.language_model import LanguageModel
from concept_ppl.bridge.anatomy.tokenization import marks_word_starts, tokenize
from concept_ppl.bridge.storage.manifest import SINK_FACTOR
from concept_ppl.bridge.storage.shards import StateType
from concept_ppl.bridge.storage.states import States
from concept_ppl.errors import InputError

from .contexts import extract


@dataclass(frozen=True, eq=False)
class WordStates:
    """The states of words, one row a word, and the words that have none.

    Attributes
    ----------
    words
        The words that were read, in the order in which they were asked for; a word that was asked
        for twice has two rows.
    kept
        Their places among the words that were asked for; ``(n_words,)``.
    token_ids
        For each word its own tokens, without the prefix.
    skipped
        Each word that was left out, and why.
    leading_space
        Whether a space was put before the words: asked for, and told apart by the tokenizer.
    states
        One row a word; see `States`.
    """

    words: tuple[str, ...]
    kept: NDArray[np.int64] = field(repr=False)
    token_ids: tuple[tuple[int, ...], ...] = field(repr=False)
    skipped: dict[str, str]
    leading_space: bool
    states: States = field(repr=False)

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, site: str) -> NDArray[np.float32]:
        """Return the words' states at ``site``, ``(n_words, width)``."""
        return self.states[site]

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """How many tokens each word has; ``(n_words,)``."""
        return np.array([len(tokens) for tokens in self.token_ids], dtype=np.int64)

    @property
    def last_tokens(self) -> NDArray[np.int64]:
        """The id of each word's last token, where its state is read; ``(n_words,)``."""
        return np.array([tokens[-1] for tokens in self.token_ids], dtype=np.int64)

    def sinks(self, site: str, factor: float = SINK_FACTOR) -> NDArray[np.bool_]:
        """Mark the words whose state's norm exceeds ``factor`` times the median norm at ``site``.

        Returns
        -------
        ndarray
            ``(n_words,)``, true where the state is most likely an attention sink's.
        """
        marks = np.zeros(len(self), dtype=np.bool_)
        marks[self.states.sinks(site, factor)] = True
        return marks


def read_words(
    language_model: LanguageModel,
    words: Sequence[str],
    *,
    sites: str | Sequence[str],
    leading_space: bool = True,
    bos: bool = True,
    one_token_only: bool = False,
    folder: str | Path | None = None,
    dtype: StateType = "float32",
    force: bool = False,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WordStates:
    """Read each word's state at its last token, and say which words have none.

    Parameters
    ----------
    language_model
        The model, from `load_language_model` or `wrap_language_model`.
    words
        The words, or short phrases.
    sites
        As `extract` takes them.
    leading_space
        Put a space before each word, as within running text, where the tokenizer tells the two
        apart.
    bos
        Put the model's neutral first token before each word.
    one_token_only
        Leave out words of several tokens.
    folder, dtype, force, batch_tokens, progress
        As `extract` takes them.

    Returns
    -------
    WordStates
        Words without tokens, with a token that has no embedding, or of several tokens where one is
        asked for, are in ``skipped``.

    Raises
    ------
    InputError
        If a site is unknown, an entry is no string, or no word is left.
    LanguageModelError
        If a state is NaN or infinite.
    """
    tokenizer = language_model.tokenizer
    # Behind a stand-in prefix a word without tokens is no error, but one to be listed.
    rows = tokenize(tokenizer, words, prefix=-1, leading_space=leading_space)
    own = [row[1:] for row in rows]
    reasons = [_why_skipped(language_model, tokens, one_token_only) for tokens in own]
    kept = [index for index, reason in enumerate(reasons) if reason is None]
    skipped = {
        word: reason for word, reason in zip(words, reasons, strict=True) if reason is not None
    }
    if words and not kept:
        word, reason = next(iter(skipped.items()))
        raise InputError(
            f"None of {len(words)} words can be read by {language_model.name}; the first, "
            f"{word!r}, has {reason}."
        )
    texts = [words[index] for index in kept]
    states = extract(
        language_model,
        texts,
        sites=sites,
        folder=folder,
        dtype=dtype,
        force=force,
        batch_tokens=batch_tokens,
        bos=bos,
        leading_space=leading_space,
        progress=progress,
    )
    return WordStates(
        words=tuple(texts),
        kept=np.array(kept, dtype=np.int64),
        token_ids=tuple(own[index] for index in kept),
        skipped=skipped,
        leading_space=leading_space and marks_word_starts(tokenizer),
        states=states,
    )


def _why_skipped(
    language_model: LanguageModel, tokens: tuple[int, ...], one_token_only: bool
) -> str | None:
    """Return what is wrong with a word's tokens, or None."""
    if not tokens:
        return "no token"
    if max(tokens) >= language_model.n_embeddings:
        return "a token without an embedding"
    if one_token_only and len(tokens) > 1:
        return f"{len(tokens)} tokens where one was asked for"
    return None
