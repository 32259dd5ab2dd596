"""A small world for predictors to learn: a concept that moves, four tokens, all short contexts."""

import pytest

from concept_ppl import load_model
from concept_ppl.inference.enumerated_contexts import EnumeratedContexts, enumerate_contexts


@pytest.fixture(scope="session")
def world() -> EnumeratedContexts:
    """39 contexts of 1 to 3 tokens, three values each; the next token is the last of 3 states."""
    model = load_model("hidden_concepts", vocabulary=3, y_determinism=1.0)
    return enumerate_contexts(model, (1, 3))
