"""Contexts that come in blocks have the posterior that they have at once."""

import numpy as np
import pytest

from concept_ppl import load_model, posterior, simulate
from concept_ppl.contexts import Contexts
from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.errors import InputError
from concept_ppl.inference import streams
from concept_ppl.inference.impossible_contexts import ImpossibleContextError
from concept_ppl.inference.streams import posterior_blocks


def blocks_of(contexts, size):
    for start in range(0, len(contexts), size):
        part = contexts.slice(start, min(start + size, len(contexts)))
        yield Contexts(part.tokens, part.lengths, start)


@pytest.mark.parametrize("name", ["latent_classes", "switching_languages", "concept_dag"])
def test_blocks_are_answered_like_the_whole(name):
    model = load_model(name)
    contexts = as_contexts(simulate(model, 50, seed=1))
    whole = posterior(model, contexts).to_frame().to_numpy()
    parts = [part.to_frame().to_numpy() for part in posterior_blocks(model, blocks_of(contexts, 7))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12, atol=1e-12)


def test_a_program_is_compiled_once_for_blocks_of_the_same_lengths(monkeypatch):
    model, calls = load_model("latent_classes"), []
    compile_lengths = streams.compile_lengths
    monkeypatch.setattr(
        streams, "compile_lengths", lambda *a, **k: calls.append(a) or compile_lengths(*a, **k)
    )
    contexts = as_contexts(simulate(model, 60, lengths=4, seed=1))
    assert len(list(posterior_blocks(model, blocks_of(contexts, 7)))) == 9
    assert len(calls) == 1


def test_rows_of_later_blocks_are_named_by_their_number():
    model = load_model("latent_classes")
    blocks = [Contexts.from_lists([[0, 1]]), Contexts(np.array([0, 10**6]), np.array([2]), 1)]
    with pytest.raises(InputError, match="row 1: token 1000000"):
        list(posterior_blocks(model, blocks))


def test_an_impossible_context_of_a_later_block_is_named_by_its_number():
    model = load_model("switching_languages", top=20)
    comma = len(model.labels["x"]) - 1
    words = Contexts.from_lists([[0, comma]])
    without_a_comma = Contexts(np.array([0, 1, 0, comma]), np.array([2, 2]), 5)
    with pytest.raises(ImpossibleContextError, match="row 5 at position 1") as refused:
        list(posterior_blocks(model, [words, without_a_comma]))
    assert refused.value.rows.tolist() == [5]
