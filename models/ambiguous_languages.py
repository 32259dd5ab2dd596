"""Words that several languages share, the language switching slowly, closed by a comma."""

from collections.abc import Callable, Sequence

import numpy as np

from concept_ppl.errors import ModelError, listed
from concept_ppl.models.switching_languages import switching_words
from concept_ppl.models.word_languages import LANGUAGES, SMALLEST_FREQUENCY, unigrams


def build(
    languages: Sequence[str] = LANGUAGES,
    top: int = 20000,
    limit: float = 2.5,
    shortest: int = 3,
    switch: float = 0.05,
    lengths: tuple[int, int] = (8, 32),
) -> Callable[[int], None]:
    """Return the model.

    The model is that of ``switching_languages``. Its words each tell little of the language and the
    language stays for long, so that evidence adds up in small steps: the posterior neither
    saturates nor follows the last word, and log-odds that a state holds are told from the posterior
    and from the most probable language.

    Most words of this kind are proper names and loan words (*edgar*, *agenda*). They are kept, for
    languages differ in how often they use them, and they stand in lower case as all words do,
    because wordfreq has no capitals. Words of one or two letters are left out: they are
    abbreviations, or function words of one language that another spells by chance.

    Parameters
    ----------
    languages, top
        As in ``word_languages``.
    limit
        The logarithms of a word's frequencies in any two languages differ by less than this, in
        nats: the most that a word can tell, but for the normaliser.
    shortest
        Letters of the shortest word.
    switch, lengths
        As in ``switching_languages``.

    Raises
    ------
    ModelError
        If a parameter is out of range, or fewer than two words are left.
    """
    if not limit > 0 or shortest < 1:
        raise ModelError(
            f"limit must be above 0 and shortest at least 1, not {limit} and {shortest}."
        )
    words, frequencies = unigrams(languages, top, SMALLEST_FREQUENCY)
    log_frequencies = np.log(frequencies)
    is_shared = np.ptp(log_frequencies, axis=0) < limit
    is_long = np.array([len(word) >= shortest for word in words])
    kept = np.flatnonzero(is_shared & is_long)
    if len(kept) < 2:
        raise ModelError(
            f"of the {top} most frequent words of {listed(languages)}, {len(kept)} differ in "
            f"frequency by less than e^{limit}; raise top or limit."
        )
    shared = tuple(words[i] for i in kept)
    return switching_words(languages, shared, frequencies[:, kept], switch, lengths)
