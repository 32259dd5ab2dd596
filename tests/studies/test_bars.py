"""A bar is met by numbers, never by their absence; a power is named only within a margin."""

import math

import numpy as np
import pandas as pd
import pytest

from concept_ppl.analyses import Estimate
from concept_ppl.analyses.studies.laboratory.bars import (
    LOG,
    NOT_LOG,
    agreement_bar,
    ceiling_bars,
    form_of,
    negative_control,
    positive_control,
    shuffled_bar,
)
from concept_ppl.analyses.studies.laboratory.sections import verdict_of


def cells(n_worlds=5, n_seeds=3, **columns):
    world, seed = np.divmod(np.arange(n_worlds * n_seeds), n_seeds)
    spread = np.random.default_rng(0).normal(scale=0.002, size=len(world))
    frame = pd.DataFrame({"world": world, "seed": seed})
    for name, value in columns.items():
        jitter = spread if name.startswith("trained") else 0.0
        frame[name.replace("__", ".")] = value + jitter
    return frame


def interval(low, high):
    return Estimate((low + high) / 2, 0.1, low, high, 0.95, math.nan, 15, 5)


def recovered(smallest):
    names = {"trained__rho2_smallest": smallest, "held_out__rho2_smallest": smallest}
    return cells(**names, gap__squared=1e-25)


def test_the_positive_control_needs_its_lower_bound_above_the_bar():
    assert [bar.met for bar in positive_control(recovered(0.995), 0.95)] == [True, True, True]
    assert not positive_control(recovered(0.979), 0.95)[0].met


def test_too_few_worlds_meet_no_bar():
    """Two worlds have no interval; an estimate above the bar is not a bound above it."""
    few = recovered(0.999)[lambda frame: frame["world"] < 2]
    assert not positive_control(few, 0.95)[0].met


def test_a_gap_that_is_not_rounding_is_seen():
    broken = recovered(0.995).assign(
        **{"gap.squared": lambda f: np.where(f["world"] == 3, 1e-6, 0)}
    )
    assert [bar.met for bar in positive_control(broken, 0.95)] == [True, True, False]


def test_the_negative_control_wants_every_interval_without_zero():
    noisy = cells(trained__alpha=0.7, trained__alpha__low=0.6, trained__alpha__high=0.8)
    assert all(bar.met for bar in negative_control(noisy, 0.95))
    noisy.loc[0, "trained.alpha.low"] = -0.1
    assert [bar.met for bar in negative_control(noisy, 0.95)] == [True, False]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.01, 0.02, LOG),
        (0.001, 0.04, LOG),  # not zero, and within the margin of it
        (0.06, 0.2, NOT_LOG),
        (-0.2, 0.2, "undecided"),
        (0.97, 1.04, "the posterior"),
        (math.nan, math.nan, "no interval"),
    ],
)
def test_a_power_is_named_when_its_whole_interval_is_near(low, high, words):
    assert form_of(interval(low, high)) == words


def test_shuffled_and_ceiling_are_asked_of_every_cell():
    frame = cells(shuffled__rho2_mean=0.02, shuffled__rho2_mean__low=-0.01)
    assert shuffled_bar(frame).met
    frame.loc[4, "shuffled.rho2_mean.low"] = 0.01
    assert not shuffled_bar(frame).met
    assert shuffled_bar(frame).reached == "14 of 15"
    close = cells(
        kl=1e-5, next_information=1.0, ceiling__r2_backward=0.995, ceiling__r2_forward=0.5
    )
    close = close.assign(**{"bayes.rank": 3.0, "trained.rank": 16.0})
    tight, wide = ceiling_bars(close)
    assert wide.met
    assert not tight.met  # asked of no cell, for states are wider than the predictive has rank
    far = close.assign(kl=0.1)
    assert not ceiling_bars(far)[1].met


def test_two_networks_agree_where_both_are_close_to_bayes_and_only_there():
    frame = cells(agreement__forward=0.995, agreement__backward=0.99, agreement__kl=1e-5)
    assert agreement_bar(frame, 0.95).met
    assert "15 of 15" in agreement_bar(frame, 0.95).what
    far = frame.assign(**{"agreement.kl": np.where(frame["world"] == 0, 1e-3, 1e-5)})
    assert "12 of 15" in agreement_bar(far, 0.95).what
    one_way = frame.assign(**{"agreement.backward": 0.9})
    assert not agreement_bar(one_way, 0.95).met
    assert not agreement_bar(frame.assign(**{"agreement.kl": 1.0}), 0.95).met
    assert not agreement_bar(frame[["world", "seed"]], 0.95).met


def test_learned_is_said_only_above_zero():
    assert verdict_of(0.01, 0.2) == "learned"
    assert verdict_of(-0.01, 0.2) == "not told apart"
    assert verdict_of(-0.3, -0.1) == "control is better"
    assert verdict_of(math.nan, math.nan) == "not told apart"
