"""What the best predictor of a world would show, and what a model's own predictions imply."""

import numpy as np
import pytest
from scipy import special

from concept_ppl import load_model
from concept_ppl.analyses import canonical_correlations, goodness_of_fit
from concept_ppl.analyses.studies.stages.own_posteriors import NextWord, ask_own_posterior
from concept_ppl.analyses.studies.stages.posterior_contrasts import varying_log_odds
from concept_ppl.analyses.studies.stages.state_analyses import Design
from concept_ppl.analyses.studies.world import WorldStudy
from concept_ppl.analyses.studies.world.answers import ask_ceiling, ceiling_states
from concept_ppl.analyses.studies.world.texts import draw_texts
from concept_ppl.inference import next_token_emission


def quiet(*_):
    """Show no progress."""


@pytest.fixture(scope="module")
def codebook():
    study = WorldStudy("codebook", n_contexts=300)
    return draw_texts(study, load_model("codebook", names=3, lengths=(5, 11)), quiet)


def test_a_predictor_that_is_bayes_shows_the_ceiling(codebook):
    """Whatever states and unembedding a Bayes-optimal network has, it shows what the ceiling shows.

    f(x)·(g(y) − g(y0)) is the log-ratio, so f is an invertible affine image of the log-ratios.
    Canonical correlations do not know which; the ridge penalty of R² knows the lengths of its axes,
    and is the same where these are.
    """
    design = Design(codebook.clusters)
    ceiling = ask_ceiling(codebook, design)
    ratios = codebook.log_next[:, 1:] - codebook.log_next[:, :1]
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    f = 3.0 * ratios @ turn + rng.normal(size=2)
    Z = varying_log_odds(codebook.posterior).to_numpy(np.float64)
    fit = goodness_of_fit(f, Z, clusters=codebook.clusters)
    assert fit.backward.estimate == pytest.approx(ceiling.fit.backward.estimate, abs=1e-6)
    rho = canonical_correlations(f, Z, clusters=codebook.clusters).smallest
    assert rho.estimate == pytest.approx(ceiling.correlations.smallest.estimate, abs=1e-6)


def test_where_the_next_token_is_the_concept_the_ceiling_is_the_claim():
    """y = c but for a thousandth: the theorem's own regime."""
    world = load_model("codebook", names=3, noise=0.001, lengths=(3, 5))
    texts = draw_texts(WorldStudy("codebook", n_contexts=400), world, quiet)
    noisy = load_model("codebook", names=3, noise=0.5, lengths=(3, 5))
    other = draw_texts(WorldStudy("codebook", n_contexts=400), noisy, quiet)
    ends = [ask_ceiling(one, Design(one.clusters)) for one in (texts, other)]
    assert ends[0].form.alpha.estimate < ends[1].form.alpha.estimate


def test_impossible_words_carry_no_ratio():
    p = np.array([[0.5, 0.3, 0.2, 0.0], [0.2, 0.6, 0.1, 0.1], [0.3, 0.3, 0.2, 0.2]])
    with np.errstate(divide="ignore"):
        log_next = np.log(p)
    states = ceiling_states(log_next)
    assert states.shape[1] == 2
    assert np.isfinite(states).all()
    assert ceiling_states(log_next[:, :1]).shape == (3, 0)


def test_next_words_of_fewer_directions_than_log_odds_have_a_ceiling_without_an_inverse():
    """Three dice, and throws that tell two kinds of sides apart: one direction for two log-odds."""
    study = WorldStudy("hidden_dice", n_contexts=120)
    dice = draw_texts(study, load_model("hidden_dice"), quiet)
    ceiling = ask_ceiling(dice, Design(dice.clusters))
    assert ceiling.states.shape[1] == 1
    assert ceiling.correlations is None
    assert ceiling.equivalence is None
    assert {"r2_backward", "alpha"} <= set(ceiling.tidy()["quantity"])


def test_of_a_bayes_predictor_beliefs_are_exact_and_the_gap_is_none(codebook):
    rows = next_token_emission(codebook.model, 11, "colour")
    said = NextWord(codebook.log_next, rows.log_p.numpy(), rows.values)
    own = ask_own_posterior(
        said, codebook.log_next.astype(np.float32), codebook.log_p, Design(codebook.clusters)
    )
    assert own.predictor_gap.estimate == pytest.approx(0.0, abs=1e-9)
    assert own.beliefs.jensen_shannon.estimate < 1e-3  # weights are smoothed by a thousandth


def test_of_a_predictor_that_doubts_the_distance_is_told(codebook):
    rows = next_token_emission(codebook.model, 11, "colour")
    doubting = special.log_softmax(0.3 * codebook.log_next, axis=1)
    said = NextWord(doubting, rows.log_p.numpy(), rows.values)
    states = codebook.log_next.astype(np.float32)
    own = ask_own_posterior(said, states, codebook.log_p, Design(codebook.clusters))
    assert own.predictor_gap.ci_low > 0.01
    assert own.beliefs.jensen_shannon.ci_low > 0.01


def test_a_sentence_in_place_of_a_next_word_is_handed_on(codebook):
    said = "The world has no next word with text."
    states = codebook.log_next.astype(np.float32)
    assert ask_own_posterior(said, states, codebook.log_p, Design(codebook.clusters)) == said
