"""The sentence of the verdict says what the numbers allow, and no more."""

from dataclasses import replace

import numpy as np
import pytest

from concept_ppl.analyses.studies.stages.state_analyses import LOG_ODDS
from concept_ppl.analyses.studies.stages.state_report import key_figures, verdict

from .planted import analyse, planted_world

HIGH, ACROSS, LOW = (0.97, 0.99), (0.93, 0.98), (0.6, 0.7)
MORE, AS_MUCH, LESS = (0.01, 0.05), (-0.02, 0.02), (-0.05, -0.01)


@pytest.fixture(scope="module")
def answers():
    """States that are noise, beside a control that is noise: every number is put in by hand."""
    world = planted_world(n=100)
    return analyse(world, {"final": world.noise()}, controls={"bag of tokens": world.noise()})


def with_intervals(answers, r2, rho2, difference=None):
    """Put other intervals (low, high) into the answers; without a difference, no controls."""

    def moved(estimate, ends):
        return replace(estimate, estimate=sum(ends) / 2, ci_low=ends[0], ci_high=ends[1])

    fit, correlations = answers.fits[LOG_ODDS], answers.correlations[LOG_ODDS]
    controls = None
    if difference is not None:
        controls = replace(answers.controls, difference=moved(fit.backward, difference))
    smallest = moved(correlations.smallest, rho2)
    fit = replace(fit, backward=moved(fit.backward, r2), controls=controls)
    p_value = 0.001 if min(r2[0], rho2[0]) > answers.equivalence.margin else 0.5
    return replace(
        answers,
        fits={**answers.fits, LOG_ODDS: fit},
        correlations={**answers.correlations, LOG_ODDS: replace(correlations, smallest=smallest)},
        equivalence=replace(answers.equivalence, p_value=p_value),
    )


@pytest.mark.parametrize(
    ("r2", "rho2", "difference", "tone", "words"),
    [
        (HIGH, HIGH, MORE, "supported", ["Yes:", ", above the 0.95", "reads more than its best"]),
        (HIGH, HIGH, AS_MUCH, "undecided", ["Undecided:", ", above", "cannot be told apart from"]),
        (HIGH, HIGH, LESS, "not supported", ["No:", ", above", "reads more than the model does"]),
        (HIGH, LOW, MORE, "not supported", ["No:", ", not above", "it reads more than its best"]),
        (LOW, HIGH, MORE, "not supported", ["No:", ", not above"]),
        (LOW, LOW, LESS, "not supported", ["No:", ", not above", "reads more than the model does"]),
        (ACROSS, HIGH, MORE, "undecided", ["Undecided:", ", not clearly above the 0.95"]),
        (HIGH, ACROSS, AS_MUCH, "undecided", ["Undecided:", "not clearly above", "told apart"]),
        (ACROSS, HIGH, LESS, "not supported", ["No:", "reads more than the model does"]),
        (HIGH, HIGH, None, "undecided", ["Close to one:", ", above the 0.95"]),
        (ACROSS, HIGH, None, "undecided", ["Undecided:", "not clearly above"]),
        (LOW, HIGH, None, "not supported", ["No:", ", not above"]),
    ],
)
def test_each_branch(answers, r2, rho2, difference, tone, words):
    result = verdict(with_intervals(answers, r2, rho2, difference))
    assert result.tone == tone
    assert all(word in result.sentence for word in words), result.sentence
    assert result.sentence.count(". ") == 0
    assert result.sentence.endswith(".")


def test_the_numbers_and_the_best_control_stand_in_the_sentence(answers):
    result = verdict(with_intervals(answers, (0.97, 0.99), (0.6, 0.7), (-0.05, -0.01)))
    for number in ("0.980 [0.970, 0.990]", "0.650 [0.600, 0.700]", "−0.030 [−0.050, −0.010]"):
        assert number in result.sentence
    assert "bag of tokens" in result.sentence
    assert "raise R² by" in result.remark


def test_without_a_control_nothing_is_called_learned(answers):
    bare = with_intervals(answers, HIGH, HIGH)
    assert "No control was given" in verdict(bare).remark
    assert [figure.label for figure in key_figures(bare)] == ["Smallest ρ²", "R² of the log-odds"]
    assert len(key_figures(answers)) == 4


def test_a_planted_affine_map_that_beats_its_control_is_supported():
    world = planted_world()
    states = {"final": world.image(world.odds, noise=0.01)}
    result = verdict(analyse(world, states, controls={"bag of tokens": world.noise()}))
    assert result.tone == "supported"
    assert "it reads more than its best control, bag of tokens" in result.sentence


def test_noise_is_not_supported():
    world = planted_world()
    controls = {"bag of tokens": world.noise()}
    assert verdict(analyse(world, {"final": world.noise()}, controls=controls)).tone == (
        "not supported"
    )


def test_a_bag_that_is_as_good_is_said_to_be():
    """The affine map is there, but a sum of embeddings has it too: linear, not learned."""
    world = planted_world()
    bag = world.image(world.odds, noise=0.01)
    states = (bag @ world.rng.normal(size=(8, 8))).astype(np.float32)
    result = verdict(analyse(world, {"final": states}, controls={"bag of tokens": bag}))
    assert result.tone != "supported"
    assert "best control, bag of tokens" in result.sentence
    assert "linear, but not learned" in result.remark


def test_a_bag_that_reads_more_is_said_to_read_more():
    world = planted_world()
    bag = world.image(world.odds, noise=0.01)
    blurred = world.image(world.odds, noise=0.4)
    result = verdict(analyse(world, {"final": blurred}, controls={"bag of tokens": bag}))
    assert result.tone == "not supported"
    assert "its best control, bag of tokens, reads more than the model does" in result.sentence
