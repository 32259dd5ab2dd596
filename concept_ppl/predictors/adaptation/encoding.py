"""A world's texts as the tokens of a language model, to be trained on and to be asked."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from concept_ppl.bridge import LanguageModel, logits_from_final_norm
from concept_ppl.bridge.anatomy.tokenization import tokenize
from concept_ppl.errors import InputError

from .world_texts import Texts
from .world_words import WorldWords

ASKED_AT_ONCE = 256
"""States that are unembedded together: a vocabulary of 250,000 tokens then takes 256 MB."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """How a language model reads and writes a world.

    Attributes
    ----------
    words
        Of the world.
    language_model
    following : tuple of tuples of int
        The token ids of each word that may follow a context, a space before it.
    """

    words: WorldWords
    language_model: LanguageModel
    following: tuple[tuple[int, ...], ...]

    @cached_property
    def first_ids(self) -> tuple[int, ...]:
        """The distinct first tokens of the words that may follow: what the next token can tell."""
        return tuple(dict.fromkeys(ids[0] for ids in self.following))

    def by_first_token(self, log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log-probabilities of first tokens, (n, n_first), from those of words, nats."""
        place = np.array([self.first_ids.index(ids[0]) for ids in self.following])
        grouped = [
            np.logaddexp.reduce(log_p[:, place == group], axis=1)
            for group in range(len(self.first_ids))
        ]
        return np.stack(grouped, axis=1)

    def rows(self, texts: Texts) -> list[tuple[int, ...]]:
        """Return the token ids of each text, a prefix before it and what follows behind it."""
        model = self.language_model
        rows = tokenize(
            model.tokenizer,
            self.words.sentences(texts.contexts),
            prefix=model.prefix,
            leading_space=True,
        )
        if texts.following is None:
            return rows
        return [(*row, *self.following[y]) for row, y in zip(rows, texts.following, strict=True)]

    def log_predictive(
        self, states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what the model says of the first tokens of the words that may follow.

        Parameters
        ----------
        states
            ``(n, width)`` at ``final_norm``, at the end of what is read.

        Returns
        -------
        log_p : (n, n_first)
            log q(first token | context), nats, renormalised over these tokens.
        mass : (n,)
            What the model gives to all of them together, of all its tokens.
        """
        pieces = []
        with torch.inference_mode():
            for start in range(0, len(states), ASKED_AT_ONCE):
                logits = logits_from_final_norm(
                    self.language_model, states[start : start + ASKED_AT_ONCE]
                )
                log_q = logits.double().log_softmax(1)[:, list(self.first_ids)]
                pieces.append(log_q.cpu())
        log_q = torch.cat(pieces)
        total = log_q.logsumexp(1, keepdim=True)
        return (log_q - total).numpy(), total.exp().squeeze(1).numpy()


def encoding_of(words: WorldWords, language_model: LanguageModel) -> Encoding:
    """Find the tokens by which a language model writes the words of a world.

    Words that begin with the same token are one to the next token, and their probabilities add up.

    Raises
    ------
    InputError
        If all words that may follow begin with the same token, so that it tells nothing.
    """
    rows = tokenize(
        language_model.tokenizer, list(words.following), prefix=None, leading_space=True
    )
    encoding = Encoding(words, language_model, tuple(rows))
    if len(encoding.first_ids) < 2:
        raise InputError(
            f"{language_model.name} writes all of {', '.join(words.following[:3])} … with the same "
            "first token, so that its next token tells nothing; give the world other words."
        )
    return encoding
