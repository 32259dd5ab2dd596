"""Words whose language switches from word to word, closed by a comma that tells nothing."""

from collections.abc import Callable, Sequence

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError
from concept_ppl.models.word_languages import LANGUAGES, SMALLEST_FREQUENCY, unigrams

COMMA = ","


def build(
    languages: Sequence[str] = LANGUAGES,
    top: int = 3000,
    switch: float = 0.2,
    floor: float = SMALLEST_FREQUENCY,
    lengths: tuple[int, int] = (4, 9),
) -> Callable[[int], None]:
    """Return the model.

    Before each token the language stays, or switches with probability ``switch`` to one of the
    others, equally likely. The last token is a comma under every language: a representation read
    there knows of the language only through the words before, and because older words count less,
    the posterior of the language is not additive in the words.

    Parameters
    ----------
    languages, top, floor
        As in ``word_languages``.
    switch
        Probability that the language changes from one token to the next.
    lengths
        Shortest and longest context to simulate, the comma included.
    """
    words, frequencies = unigrams(languages, top, floor)
    return switching_words(languages, words, frequencies, switch, lengths)


def switching_words(
    languages: Sequence[str],
    words: Sequence[str],
    frequencies: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    switch: float,
    lengths: tuple[int, int],
) -> Callable[[int], None]:
    """Return the model of given words, whose frequencies have shape (n_languages, n_words).

    The next token ``y`` is one more word, of the language that comes next.
    """
    if not 0 <= switch <= 1:
        raise ModelError(f"switch must be a probability, not {switch}.")
    n = len(languages)
    emission = np.log(frequencies / frequencies.sum(1, keepdims=True))
    word_or_comma = torch.as_tensor(np.pad(emission, ((0, 0), (0, 1)), constant_values=-np.inf))
    comma = torch.full((len(words) + 1,), -torch.inf).index_fill(0, torch.tensor([len(words)]), 0)
    move = torch.full((n, n), switch / (n - 1), dtype=torch.float64).fill_diagonal_(1 - switch)
    stay_or_switch = move.log()
    following = (move @ torch.as_tensor(emission).exp()).log()

    def model(n_tokens: int) -> None:
        language = None
        for t in pyro.markov(range(n_tokens)):
            to = torch.zeros(n) if language is None else Vindex(stay_or_switch)[language]
            language = pyro.sample(f"language_{t}", dist.Categorical(logits=to))
            is_last = t == n_tokens - 1
            logits = comma if is_last else Vindex(word_or_comma)[language]
            pyro.sample(f"x_{t}", dist.Categorical(logits=logits))
        if language is not None:
            pyro.sample("y", dist.Categorical(logits=Vindex(following)[language]))

    model.labels = {  # type: ignore[attr-defined]
        "language": tuple(languages),
        "x": (*words, COMMA),
        "y": tuple(words),
    }
    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model
