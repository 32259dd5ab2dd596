"""A topic and a register within it: the posterior by brute force, and that the two depend."""

import itertools

import numpy as np
import pytest

from concept_ppl import load_model, posterior, simulate
from concept_ppl.errors import ModelError
from concept_ppl.models.topics_and_registers import REGISTERS, TOPICS, lexicon

FORMAL = (0.5, 0.3, 0.7)


def by_hand(words, topic_evidence, register_evidence, switch):
    """p(topic, register at the comma, words), shape (3, 2), over all paths of the register."""
    known, senses, spoken = lexicon()
    score = np.exp(topic_evidence * senses.numpy() + register_evidence * spoken.numpy())
    p = score / score.sum(2, keepdims=True)
    joint = np.zeros((3, 2))
    for topic in range(3):
        share = (FORMAL[topic], 1 - FORMAL[topic])
        for path in itertools.product(range(2), repeat=len(words) + 1):
            weight = share[path[0]] / 3
            for before, after in itertools.pairwise(path):
                weight *= switch * share[after] + (1 - switch) * (before == after)
            for register, word in zip(path, words, strict=False):
                weight *= p[topic, register, known.index(word)]
            joint[topic, path[-1]] += weight
    return joint


@pytest.mark.parametrize("knobs", [(1.2, 1.5, 0.1), (0.5, 2.0, 0.7)])
def test_the_joint_posterior_is_that_of_brute_force(knobs):
    topic_evidence, register_evidence, switch = knobs
    model = load_model(
        "topics_and_registers",
        topic_evidence=topic_evidence,
        register_evidence=register_evidence,
        switch=switch,
    )
    texts = (
        ["pitch"],
        ["moreover", "pitch", "jam", "butter"],
        ["pitch", "pitch", "dude", "goal", "with"],
    )
    labels = model.labels["x"]
    contexts = [[*map(labels.index, words), len(labels) - 1] for words in texts]
    answer = posterior(model, contexts, joint=True)
    for row, words in enumerate(texts):
        joint = by_hand(words, *knobs)
        assert float(answer.log_evidence[row]) == pytest.approx(np.log(joint.sum()), abs=1e-10)
        exact = joint / joint.sum()
        np.testing.assert_allclose(answer.log_joint[row].exp(), exact.ravel(), rtol=0, atol=1e-12)
        marginals = [answer.log_marginals[name][row].exp() for name in ("topic", "register")]
        np.testing.assert_allclose(marginals[0], exact.sum(1), rtol=0, atol=1e-12)
        np.testing.assert_allclose(marginals[1], exact.sum(0), rtol=0, atol=1e-12)


def test_the_joint_is_not_the_product_of_the_marginals():
    model = load_model("topics_and_registers")
    answer = posterior(model, simulate(model, 500), joint=True)
    topic, register = (answer.log_marginals[name].exp() for name in ("topic", "register"))
    product = (topic[:, :, None] * register[:, None, :]).reshape(-1, 6)
    assert float((answer.log_joint.exp() - product).abs().sum(1).mean()) > 0.03


def test_the_register_around_a_word_tells_its_sense():
    model = load_model("topics_and_registers")
    labels = model.labels["x"]
    texts = ("moreover hence pitch thus whereas ,", "yeah dude pitch wow guys ,")
    contexts = [[labels.index(word) for word in text.split()] for text in texts]
    without = [[token for token in row if token != labels.index("pitch")] for row in contexts]
    told = posterior(model, contexts).log_odds() - posterior(model, without).log_odds()
    sport = told["topic.sport:music"]
    assert sport[0] < -0.5
    assert sport[1] > 0.5


def test_evidence_of_zero_tells_nothing():
    silent = load_model("topics_and_registers", topic_evidence=0.0, formal=(0.4, 0.4, 0.4))
    odds = posterior(silent, simulate(silent, 50)).log_odds().filter(like="topic.")
    assert np.abs(odds).to_numpy().max() < 1e-10


def test_the_table_names_topics_and_registers_and_is_balanced():
    words, senses, spoken = lexicon()
    assert len(set(words)) == len(words)
    assert senses.shape == (len(TOPICS), len(REGISTERS), len(words))
    assert (senses.sum(0) <= 1).all()
    # Every topic has as many words in each register, but for two.
    counts = senses.sum(2)
    assert float(counts.max() - counts.min()) <= 2
    assert (spoken.sum(1) == 12).all()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"topic_evidence": -1.0}, "topic_evidence and register_evidence must be at least 0"),
        ({"switch": 1.1}, "switch a probability"),
        ({"formal": (0.5, 0.5)}, "formal must be 3 shares"),
        ({"formal": (0.5, 0.5, 1.0)}, "formal must be 3 shares"),
    ],
)
def test_parameters_out_of_range_are_refused(knobs, message):
    with pytest.raises(ModelError, match=message):
        load_model("topics_and_registers", **knobs)
