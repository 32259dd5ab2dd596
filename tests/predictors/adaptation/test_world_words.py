"""What follows a context is named in the world's own words, and weighed as Bayes weighs it."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import load_model, posterior, predictive, simulate
from concept_ppl.contexts.tokens import Contexts, as_contexts
from concept_ppl.errors import InputError
from concept_ppl.models.negated_opinions import lexicon
from concept_ppl.predictors.adaptation import world_words


def test_next_tokens_are_written_as_the_texts_would_have_gone_on(words):
    assert words.following == ("red,", "blue,")
    assert words.concept == "colour"
    contexts = Contexts.from_lists([[0, 2, 0], [4, 0, 2, 1]])
    assert words.sentences(words.read(contexts)) == ["Anna red, Anna", "So, Anna red, Ben"]
    exact = predictive(words.model, contexts).numpy()
    assert np.array_equal(words.log_predictive(contexts), exact)


def opinions_without_a_next_token():
    """Words of an opinion between an opening and a closing token; nothing says what comes next."""
    names, tilts = lexicon()
    n = len(names)
    own = torch.stack([tilts / 2, -tilts / 2]).log_softmax(1)
    word = torch.nn.functional.pad(own, (0, 2), value=-torch.inf)
    opening, closing = torch.full((2, n + 2), -torch.inf, dtype=torch.float64)
    opening[n] = closing[n + 1] = 0.0

    def model(n_tokens):
        opinion = pyro.sample("opinion", dist.Categorical(logits=torch.zeros(2)))
        for t in pyro.markov(range(n_tokens)):
            is_end = t == n_tokens - 1
            token = opening if t == 0 else closing if is_end else Vindex(word)[opinion]
            pyro.sample(f"x_{t}", dist.Categorical(logits=token))

    words = (*(f"{name}," for name in names), "The film was", "and so on.")
    model.labels = {"opinion": ("good", "bad"), "x": words}
    model.lengths = (4, 9)
    return model


def moods_without_a_next_token(n_tokens):
    """A mood that moves and two words; nothing says what comes next."""
    move = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    mood = None
    for t in pyro.markov(range(n_tokens)):
        logits = torch.zeros(2) if mood is None else Vindex(move)[mood]
        mood = pyro.sample(f"mood_{t}", dist.Categorical(logits=logits))
        pyro.sample(f"x_{t}", dist.Categorical(logits=Vindex(move)[mood]))


moods_without_a_next_token.labels = {"mood": ("up", "down"), "x": ("yes", "no")}


def test_without_a_next_token_texts_are_read_before_their_last_token():
    model = opinions_without_a_next_token()
    words = world_words(model)
    names, tilts = lexicon()
    assert words.closing
    assert words.following == tuple(f"{name}," for name in names)
    texts = as_contexts(simulate(model, 40, seed=3))
    read = words.sentences(words.read(texts))
    assert all(text.startswith("The film was") and text[-1] == "," for text in read)
    # The reference takes the opinion's posterior and the lexicon's tilts, and no other program.
    half = tilts.numpy() / 2
    by_opinion = np.stack([np.exp(half) / np.exp(half).sum(), np.exp(-half) / np.exp(-half).sum()])
    belief = np.exp(posterior(model, texts).log_marginals["opinion"].numpy())
    expected = np.log(belief @ by_opinion)
    assert np.allclose(words.log_predictive(texts), expected, atol=1e-9)


def test_the_posterior_is_that_of_the_concept_alone(words):
    contexts = Contexts.from_lists([[0, 2, 1], [0, 2, 0]])
    table = words.log_posterior(contexts)
    assert list(table.columns) == ["log_p.colour.red", "log_p.colour.blue"]
    assert table.iloc[0, 1] > table.iloc[0, 0]  # Anna is red, and no two share a colour
    assert table.iloc[1, 0] > table.iloc[1, 1]


def model_with(**attributes):
    source = load_model("codebook", names=2, lengths=(3, 5))

    def world(n_tokens):
        source(n_tokens)

    kept = {"labels": source.labels, "lengths": (3, 5), "concept": "colour"} | attributes
    for name, value in kept.items():
        if value is not None:
            setattr(world, name, value)
    return world


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"labels": {"colour": ("red", "blue")}}, "gives its tokens no text"),
        ({"labels": {"x": ("a", "a", "b", "c", "d")}}, "two tokens the same text"),
        ({"concept": "colours"}, "say which is read"),
        ({"concept": None}, "say which is read"),
    ],
)
def test_a_world_without_words_or_concept_is_refused(attributes, message):
    with pytest.raises(InputError, match=message):
        world_words(model_with(**attributes))


def test_a_concept_that_moves_needs_a_next_token():
    with pytest.raises(InputError, match="its concept mood moves"):
        world_words(moods_without_a_next_token)
