"""A world's texts as the tokens of a language model, to be trained on and to be asked."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    @property
    def first_ids(self) -> tuple[int, ...]:
        """The first token of each word that may follow: it tells the words apart."""
        return tuple(ids[0] for ids in self.following)

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
        """Return what the model says of the words that may follow.

        Parameters
        ----------
        states
            ``(n, width)`` at ``final_norm``, at the end of what is read.

        Returns
        -------
        log_p : (n, n_following)
            log q(word | context), nats, renormalised over these words.
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

    Raises
    ------
    InputError
        If two words that may follow begin with the same token, so that the next token does not
        tell them apart.
    """
    rows = tokenize(
        language_model.tokenizer, list(words.following), prefix=None, leading_space=True
    )
    _require_distinct(words.following, rows, language_model.name)
    return Encoding(words, language_model, tuple(rows))


def _require_distinct(names: Sequence[str], rows: Sequence[tuple[int, ...]], model: str) -> None:
    first: dict[int, str] = {}
    for name, row in zip(names, rows, strict=True):
        other = first.setdefault(row[0], name)
        if other != name:
            raise InputError(
                f"{model} writes both '{other}' and '{name}' with the same first token, so that "
                "its next token cannot tell them apart; give the world other words."
            )
