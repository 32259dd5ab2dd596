"""A codebook of two names that short texts tell, and a Llama of its words."""

import pytest

from concept_ppl import load_model
from concept_ppl.predictors.adaptation import (
    Encoding,
    WorldWords,
    encoding_of,
    word_level_language_model,
    world_words,
)


@pytest.fixture(scope="session")
def words() -> WorldWords:
    """Texts of 3, 5 or 7 tokens, or of an even number with an opening word."""
    return world_words(load_model("codebook", names=2, noise=0.1, lengths=(3, 7)))


@pytest.fixture
def encoding(words: WorldWords) -> Encoding:
    """A fresh Llama of two blocks, untrained, that reads them."""
    return encoding_of(words, word_level_language_model(words, width=16, blocks=2))
