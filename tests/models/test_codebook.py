"""A hidden map: its posterior from all maps by hand, and what exclusive colours add."""

import itertools

import numpy as np
import pytest

from concept_ppl import load_model, posterior, predictive, simulate
from concept_ppl.errors import ModelError


def by_hand(context, names: int, noise: float, exclusive: bool) -> tuple[float, np.ndarray]:
    """p(x) and p(colour of the last name | x), summing over maps and over nothing else."""
    maps = itertools.product(range(names), repeat=names)
    allowed = [m for m in maps if not exclusive or len(set(m)) == names]
    tokens = [int(token) for token in context if token != 2 * names]
    pairs = list(zip(tokens[:-1:2], tokens[1::2], strict=True))
    joint = np.zeros(names)
    for m in allowed:
        told = [1 - noise if names + m[n] == c else noise / (names - 1) for n, c in pairs]
        joint[m[tokens[-1]]] += np.prod(told) / names ** (len(pairs) + 1) / len(allowed)
    return joint.sum(), joint / joint.sum()


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(("names", "noise"), [(3, 0.3), (4, 0.55)])
def test_the_posterior_is_the_sum_over_maps(names, noise, exclusive):
    knobs = {"names": names, "noise": noise, "exclusive": exclusive}
    model = load_model("codebook", **knobs, lengths=(1, 9))
    contexts = simulate(model, 150, seed=2)
    answer, following = posterior(model, contexts), predictive(model, contexts).exp()
    copy = np.full((names, names), noise / (names - 1))
    np.fill_diagonal(copy, 1 - noise)
    for row, context in enumerate(contexts["x"]):
        if context[-1] == 2 * names:
            continue  # an opening alone
        evidence, exact = by_hand(context, **knobs)
        assert float(answer.log_evidence[row]) == pytest.approx(np.log(evidence), abs=1e-10)
        colour = answer.log_marginals["colour"][row].exp()
        np.testing.assert_allclose(colour, exact, rtol=0, atol=1e-12)
        np.testing.assert_allclose(following[row], exact @ copy, rtol=0, atol=1e-12)


def tokens(model, text: str) -> list[int]:
    return [model.labels["x"].index(word) for word in text.split()]


def test_pairs_of_other_names_tell_only_where_colours_are_exclusive():
    texts = ("Anna red, Ben", "Clara green, Anna red, Ben")
    odds = {}
    for exclusive in (True, False):
        model = load_model("codebook", exclusive=exclusive)
        odds[exclusive] = posterior(model, [tokens(model, text) for text in texts]).log_odds()
    assert np.abs(odds[False].filter(like="colour.")).to_numpy().max() < 1e-12
    assert (odds[True]["colour.blue:red"] > 0.5).all()
    assert odds[True]["colour.green:red"][1] < odds[True]["colour.blue:red"][1] - 0.5


def test_without_exclusive_colours_counts_after_the_last_name_are_all_that_tells():
    model = load_model("codebook", exclusive=False, noise=0.3)
    text = "Ben red, Anna blue, Anna blue, Anna red, Clara red, Anna"
    odds = posterior(model, [tokens(model, text)]).log_odds()
    assert odds["colour.blue:red"][0] == pytest.approx(np.log(0.7 / 0.1), abs=1e-12)
    assert odds["colour.green:red"][0] == pytest.approx(-np.log(0.7 / 0.1), abs=1e-12)


def test_names_and_colours_alternate_and_the_last_token_is_a_name():
    model = load_model("codebook")
    for context in simulate(model, 200)["x"]:
        body = context[context != 8]
        assert len(body) % 2 == 1
        assert (body[::2] < 4).all()
        assert (body[1::2] >= 4).all()
        assert list(np.flatnonzero(context == 8)) == [0] * (len(context) % 2 == 0)


def test_simulated_colours_are_those_of_the_map_but_for_the_noise():
    model = load_model("codebook", noise=0.2)
    contexts = simulate(model, 500)
    labels = model.labels["x"]
    hits = []
    for context, book, colour in contexts[["x", "map", "colour"]].to_numpy():
        own = dict(zip(labels[:4], book.split("-"), strict=True))
        words = [labels[token] for token in context if token != 8]
        assert colour[-1] == own[words[-1]]
        hits += [own[a] == b.rstrip(",") for a, b in zip(words[:-1:2], words[1::2], strict=True)]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"names": 6}, "names must be 2 to 5"),
        ({"noise": 0.0}, "noise between 0 and 1"),
        ({"names": 5, "exclusive": False}, "3,125 maps, 256 are allowed"),
    ],
)
def test_parameters_out_of_range_are_refused(knobs, message):
    with pytest.raises(ModelError, match=message):
        load_model("codebook", **knobs)
