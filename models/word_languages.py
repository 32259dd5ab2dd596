"""Words of one language, drawn from its real unigram frequencies; the language is the concept."""

from collections.abc import Callable, Sequence

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import wordfreq
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError, listed

LANGUAGES = ("en", "fr", "de", "es", "it")
SMALLEST_FREQUENCY = 1e-8


def build(
    languages: Sequence[str] = LANGUAGES,
    top: int = 3000,
    floor: float = SMALLEST_FREQUENCY,
    lengths: tuple[int, int] = (1, 5),
) -> Callable[[int], None]:
    """Return the model.

    Given the language, words are independent, so the log-odds of the language are a sum of one
    number per word: the posterior is additive in the tokens.

    Parameters
    ----------
    languages
        Language codes of wordfreq, equally likely.
    top
        The vocabulary is the union of each language's most frequent alphabetic words, this many.
    floor
        Frequency of a word in a language whose list does not hold it (the lists of wordfreq end at
        1e-8): it keeps log-odds finite.
    lengths
        Shortest and longest context to simulate.
    """
    words, frequencies = unigrams(languages, top, floor)
    emission = torch.as_tensor(np.log(frequencies / frequencies.sum(1, keepdims=True)))
    prior = torch.zeros(len(languages))

    def model(n_tokens: int) -> None:
        language = pyro.sample("language", dist.Categorical(logits=prior))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(logits=Vindex(emission)[language]))

    model.labels = {"language": tuple(languages), "x": words}  # type: ignore[attr-defined]
    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model


def unigrams(
    languages: Sequence[str], top: int, floor: float
) -> tuple[tuple[str, ...], np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Return the shared vocabulary and its real frequencies, shape (n_languages, n_words).

    Raises
    ------
    ModelError
        If wordfreq does not know a language or fewer than two are given.
    """
    known = wordfreq.available_languages("small")
    unknown = [code for code in languages if code not in known]
    if unknown:
        raise ModelError(f"wordfreq has no language '{unknown[0]}'; it has {listed(known)}.")
    if len(set(languages)) < 2 or len(set(languages)) != len(languages):
        raise ModelError("languages: give two or more different language codes, as en,fr,de.")
    if top < 1 or not floor > 0:
        raise ModelError(f"top must be at least 1 and floor above 0, not {top} and {floor}.")
    # Twice as many, because numbers and words with apostrophes are dropped.
    lists = [_alphabetic(wordfreq.top_n_list(code, 2 * top + 100))[:top] for code in languages]
    words = tuple(sorted(set().union(*lists)))
    table = [[wordfreq.word_frequency(word, code) for word in words] for code in languages]
    return words, np.maximum(np.array(table), floor)


def _alphabetic(words: Sequence[str]) -> list[str]:
    return [word for word in words if word.isalpha()]
