"""What a language model says of the next word of a world's texts, read off its last states."""

import numpy as np
from numpy.typing import NDArray

from concept_ppl.analyses.studies.stages.own_posteriors import NextWord, sentence
from concept_ppl.bridge import LanguageModel, first_token_emission, first_token_log_predictive
from concept_ppl.errors import InputError
from concept_ppl.inference import next_token_emission

from .texts import WorldTexts


def read_next_word(
    language_model: LanguageModel, states: NDArray[np.float32], texts: WorldTexts
) -> NextWord | str:
    """Read a model's next word off its last states, or say why there is none to read.

    Parameters
    ----------
    language_model
        The model.
    states
        (m, width) at ``final_norm``.
    texts
        The world's.
    """
    if texts.next_words is None:
        return "The world has no next word with text."
    if len(texts.concepts) != 1:
        return "Several concepts are read, and one next word implies no posterior of each."
    longest = int(texts.contexts.lengths.max())
    try:
        rows = next_token_emission(texts.model, longest, texts.concepts[0])
        first = first_token_emission(language_model, texts.next_words, rows.log_p)
    except InputError as error:
        return sentence(error)
    log_predictive = first_token_log_predictive(language_model, states, first.token_ids)
    return NextWord(log_predictive, first.log_emission, rows.values)
