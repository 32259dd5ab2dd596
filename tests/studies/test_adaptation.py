"""The claim comes true with the gap, or does not: what the intervals of planted looks must say."""

import math

import numpy as np
import pandas as pd
import pytest

from concept_ppl.analyses import Estimate, fit_controls
from concept_ppl.analyses.studies.adaptation import AdaptationStudy, recipe_for
from concept_ppl.analyses.studies.adaptation.answers import (
    BAYES,
    Beside,
    HeldOut,
    of_ceiling,
    of_model,
    of_own_posterior,
    of_predictions,
)
from concept_ppl.analyses.studies.adaptation.plan import CEILING
from concept_ppl.analyses.studies.adaptation.report import adaptation_report
from concept_ppl.analyses.studies.adaptation.verdicts import Looks, outcome
from concept_ppl.errors import InputError

STUDY = AdaptationStudy(recipe=recipe_for(None, steps=100), n_looks=2)
QUANTITIES = ("predictor_gap", "r2_backward", "rho2_smallest", "alpha")


def looks(study=STUDY, **changes):
    """Looks at a training that learned all, but for ``kind__step__quantity=(estimate, ±)``."""
    planted = {
        f"{CEILING}__0__r2_backward": (0.70, 0.02),
        f"{CEILING}__0__rho2_smallest": (0.70, 0.02),
        f"{CEILING}__0__alpha": (0.6, 0.02),
        f"{CEILING}__0__uninformed_gap": (0.4, 0.01),
        "untrained__0__predictor_gap": (0.6, 0.02),
        "untrained__0__r2_backward": (0.01, 0.02),
    }
    for seed in range(study.seeds):
        for kind, gap, share in (("world", 0.01, 0.7), ("exchanged", 0.39, 0.01)):
            own = {
                "0__predictor_gap": (0.6, 0.02),
                "0__r2_backward": (0.01, 0.02),
                "0__alpha": (0.5, 0.9),
                "100__predictor_gap": (gap, gap / 10),
                "100__r2_backward": (share, 0.02),
                "100__rho2_smallest": (share, 0.02),
                "100__alpha": (0.6, 0.05),
                "100__r2_difference:best": (share - 0.1, 0.02),
                "100__r2_difference:ceiling": (share - 0.7, 0.01),
                "100__r2_increment:best": (share - 0.1, 0.02),
            }
            planted |= {f"{kind}__{key}__{seed}": value for key, value in own.items()}
    rows = []
    for key, value in (planted | changes).items():
        kind, step, quantity, *seed = key.split("__")
        rows.append(
            {
                "kind": kind,
                "step": int(step),
                "seed": int(seed[0]) if seed else 0,
                "quantity": quantity,
                "estimate": value[0],
                "std_error": value[1] / 2,
                "ci_low": value[0] - value[1],
                "ci_high": value[0] + value[1],
                "ci_level": 0.95,
                "p_value": math.nan,
                "n": 2000,
                "n_clusters": 2000,
                "loss": 1.2,
            }
        )
    return Looks(study, pd.DataFrame(rows))


def test_a_claim_that_comes_true_up_to_the_ceiling_is_supported():
    assert outcome(looks(), 0).tone == "supported"
    report = adaptation_report(looks(), {})
    assert report.verdict.tone == "supported"
    assert "comes true as the gap closes" in report.verdict.sentence
    assert "0.700 [0.680, 0.720]" in report.verdict.sentence


@pytest.mark.parametrize(
    ("changes", "tone", "words"),
    [
        # Below the ceiling by more than the margin.
        (
            {"world__100__r2_difference:ceiling__0": (-0.2, 0.01)},
            "undecided",
            "not up to what is true of Bayes",
        ),
        # The gap closed, and R² did not rise.
        ({"world__100__r2_backward__0": (0.03, 0.02)}, "not supported", "did not come true"),
        # It rose, but a control has it too.
        ({"world__100__r2_difference:best__0": (0.0, 0.01)}, "not supported", "did not come true"),
        # Texts without meaning teach the same.
        ({"exchanged__100__r2_backward__0": (0.69, 0.02)}, "not supported", "teach as much"),
        # The model has learned which words follow, and nothing of the context.
        ({"world__100__predictor_gap__0": (0.39, 0.01)}, "undecided", "did not close"),
    ],
)
def test_each_condition_is_needed(changes, tone, words):
    found = looks(**changes)
    assert outcome(found, 0).tone == tone
    report = adaptation_report(found, {})
    assert report.verdict.tone == tone
    assert words in report.verdict.sentence


def test_states_that_hold_more_than_prediction_asks_for_are_said_to():
    level = adaptation_report(looks(), {}).verdict.remark
    assert "not told apart from that of Bayes's log-ratios" in level
    assert "more of the log-odds than the next word asks for" not in level
    more = looks(
        **{
            "world__100__alpha__0": (0.2, 0.05),
            "world__100__r2_difference:ceiling__0": (0.04, 0.01),
        }
    )
    remark = adaptation_report(more, {}).verdict.remark
    assert "nearer to the logarithm (0) than that of Bayes's log-ratios" in remark
    assert "0.040 [0.030, 0.050] above that of Bayes's log-ratios" in remark


def test_trainings_that_disagree_decide_nothing():
    study = AdaptationStudy(recipe=recipe_for(None, steps=100), n_looks=2, seeds=2)
    found = looks(study, **{"world__100__r2_backward__1": (0.0, 0.02)})
    report = adaptation_report(found, {})
    assert report.verdict.tone == "undecided"
    assert "came true in 1 of 2" in report.verdict.sentence


def test_every_number_is_among_the_results_by_text_seed_and_step():
    results = adaptation_report(looks(), {}).results
    assert set(results["term"]) >= {"world, seed 0, step 100", "ceiling, seed 0, step 0"}
    beside = results[(results["quantity"] == "r2_difference") & (results["control"] == "best")]
    assert len(beside) == 2


def held(n=400, seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2.0, size=(n, 3))
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    emission = np.log(0.1 / 3 + 0.9 * np.eye(3))
    y = np.logaddexp.reduce(log_p[:, :, None] + emission, axis=1)
    odds, clusters = log_p[:, 1:] - log_p[:, :1], np.arange(n)
    return HeldOut([], odds, log_p, y, emission, ("a", "b", "c"), clusters, 0, 0.95)


def beside(own, **controls):
    options = {"clusters": own.clusters, "seed": own.seed}
    return Beside(
        fit_controls(own.log_odds, controls, **options),
        fit_controls(own.log_odds, {BAYES: own.log_ratios}, **options),
    )


def test_the_gap_is_the_kl_from_bayes_and_zero_for_bayes():
    own = held()
    same = of_predictions(own.log_predictive, np.full(400, 0.9), own)
    assert same["predictor_gap"].estimate == pytest.approx(0.0, abs=1e-12)
    assert same["mass"].estimate == pytest.approx(0.9)
    uniform = np.full((400, 3), -np.log(3))
    p = np.exp(own.log_predictive)
    expected = (np.log(3) + (p * np.log(p)).sum(1)).mean()
    found = of_predictions(uniform, np.ones(400), own)["predictor_gap"]
    assert found.estimate == pytest.approx(expected, rel=1e-12)
    assert 0 < found.ci_low < expected < found.ci_high
    assert of_ceiling(own)["uninformed_gap"].estimate <= expected


def test_states_that_are_bayes_are_the_ceiling_and_noise_is_far_below():
    own = held()
    generator = np.random.default_rng(1)
    mixed = own.log_ratios @ generator.normal(size=(2, 5)) + 3.0
    noise = generator.normal(size=(400, 4)).astype(np.float32)
    bayes = of_model(mixed.astype(np.float32), beside(own, noise=noise), own)
    ceiling = of_ceiling(own)
    assert bayes["r2_backward"].estimate == pytest.approx(ceiling["r2_backward"].estimate, abs=1e-3)
    assert abs(bayes["r2_difference:ceiling"].estimate) < 1e-3
    assert bayes["r2_bayes"].estimate > 0.999
    assert bayes["r2_difference:best"].ci_low > 0.5
    far = of_model(noise, beside(own, bayes=mixed.astype(np.float32)), own)
    assert far["r2_difference:best"].ci_high < -0.5
    assert isinstance(far["r2_backward:bayes"], Estimate)


def test_a_perfect_predictor_believes_what_bayes_believes_and_a_doubting_one_does_not():
    own = held()
    states = own.log_ratios.astype(np.float32)
    bayes = of_own_posterior(own.log_predictive, states, own)
    assert bayes["own_distance"].estimate < 1e-3  # weights are smoothed by a thousandth
    doubting = 0.5 * own.log_predictive
    doubting -= np.logaddexp.reduce(doubting, axis=1, keepdims=True)
    assert of_own_posterior(doubting, states, own)["own_distance"].ci_low > 0.01


def test_a_next_word_that_no_value_makes_alone_implies_no_posterior():
    from dataclasses import replace

    own = replace(held(), log_emission=None)
    assert of_own_posterior(own.log_predictive, own.log_ratios.astype(np.float32), own) == {}


def test_sizes_that_make_no_report_are_refused():
    for wrong in ({"seeds": 0}, {"n_looks": 1}):
        with pytest.raises(InputError, match="at least"):
            AdaptationStudy(**wrong)
    from concept_ppl.analyses.studies.adaptation import WordLevel

    with pytest.raises(InputError, match="multiple of 16"):
        AdaptationStudy(word_level=WordLevel(width=24))
