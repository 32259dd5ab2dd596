"""The next word of a world as a language model sees it: by the word's first token.

A model predicts tokens, a world words. The first token of the next word is an event in both: in the
world its probability given a concept is the sum over the words that begin with it, in the model it
is one entry of the predictive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import InputError

from .language_model import LanguageModel, logits_from_final_norm
from .tokenization import tokenize
from .unembedding import known_ids

CELLS = 2**22
"""Logits that are held at once in float64: 32 MiB."""
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class FirstTokens:
    """The first tokens of a world's next words, and what each concept value says of them.

    Attributes
    ----------
    token_ids : int64 array, shape (n_first,)
        Distinct, ascending.
    log_emission : float64 array, shape (C, n_first)
        log p(first token | value), −inf where no word of the value begins with it.
    of_word : int64 array, shape (n_words,)
        Where in ``token_ids`` each word's first token is; −1 for a word that no value emits.
    """

    token_ids: NDArray[np.int64]
    log_emission: NDArray[np.float64]
    of_word: NDArray[np.int64]


def first_token_emission(
    language_model: LanguageModel,
    words: Sequence[str],
    log_frequencies: npt.ArrayLike | Tensor,
    *,
    leading_space: bool = True,
) -> FirstTokens:
    """Sum the probabilities of next words over those that begin with the same token, exactly.

    Parameters
    ----------
    language_model
        The model whose tokenizer writes the words.
    words
        The text of each word.
    log_frequencies
        (C, n_words) log p(word | value) in nats, −inf where a value never emits it; each row is a
        distribution, as :func:`concept_ppl.inference.next_token_emission` gives it.
    leading_space
        Words follow a space, as within running text, where the tokenizer tells the two apart.

    Raises
    ------
    InputError
        If shapes do not fit, a row is no distribution, or the tokenizer has no token for a word
        that some value emits.
    """
    held = log_frequencies.cpu() if isinstance(log_frequencies, Tensor) else log_frequencies
    table = np.asarray(held, np.float64)
    if table.ndim != 2 or table.shape[1] != len(words):
        raise InputError(
            f"log_frequencies has shape {table.shape}; it must be (values, {len(words)}), one "
            "column a word."
        )
    sums = np.exp(table).sum(axis=1)
    bad = np.flatnonzero(~(np.abs(sums - 1.0) <= TOLERANCE))
    if bad.size:
        raise InputError(
            f"Row {bad[0]} of log_frequencies sums to {sums[bad[0]]:.6g}, not 1; give "
            "log p(word | value) of all words."
        )
    emitted = np.flatnonzero(~np.isneginf(table).all(axis=0))
    firsts = _first_tokens(
        language_model.tokenizer, [words[int(i)] for i in emitted], leading_space
    )
    token_ids, place = np.unique(firsts, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(token_ids)))
    log_emission = np.logaddexp.reduceat(table[:, emitted[order]], starts, axis=1)
    of_word = np.full(len(words), -1, np.int64)
    of_word[emitted] = place
    return FirstTokens(token_ids, log_emission, of_word)


def _first_tokens(tokenizer: Any, words: Sequence[str], leading_space: bool) -> NDArray[np.int64]:
    """Return each word's first token, (n_words,); refuse words that cannot be written."""
    rows = tokenize(tokenizer, words, prefix=-1, leading_space=leading_space)
    for word, row in zip(words, rows, strict=True):
        if len(row) < 2 or tokenizer.unk_token_id in row:
            raise InputError(
                f"The tokenizer has no tokens for the word {word!r}, so that the model cannot "
                "predict it; leave it out of the world."
            )
    return np.array([row[1] for row in rows], dtype=np.int64)


@torch.inference_mode()
def first_token_log_predictive(
    language_model: LanguageModel,
    states: Tensor | NDArray[Any],
    token_ids: Sequence[int] | NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the model's own log p(token | context) of some tokens, from its last states.

    Parameters
    ----------
    language_model
        The model.
    states
        (n, width) at ``final_norm``, tensor or array; logits of a few rows at a time are held.
    token_ids
        (n_first,) distinct tokens, as `FirstTokens` has them.

    Returns
    -------
    ndarray, shape (n, n_first)
        Nats, normalised over the whole vocabulary of the model: the exponentials of a row sum to
        the model's mass on these tokens.

    Raises
    ------
    InputError
        If the states are no matrix as wide as the model, or a token is none of its vocabulary.
    """
    rows = torch.as_tensor(states)
    if rows.ndim != 2 or rows.shape[1] != language_model.width:
        raise InputError(
            f"states have shape {tuple(rows.shape)}; they must be (contexts, "
            f"{language_model.width}), at site final_norm."
        )
    n_vocabulary = logits_from_final_norm(language_model, rows[:1]).shape[-1]
    ids = known_ids(token_ids, n_vocabulary)
    answer = np.empty((len(rows), len(ids)))
    at_once = max(1, CELLS // n_vocabulary)
    for start in range(0, len(rows), at_once):
        logits = logits_from_final_norm(language_model, rows[start : start + at_once])
        exact = logits if logits.device.type == "mps" else logits.double()
        total = exact.logsumexp(1, keepdim=True)
        answer[start : start + at_once] = (exact[:, ids.to(exact.device)] - total).cpu().numpy()
    return answer
