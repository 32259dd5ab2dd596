"""A family of controls is as good as the member that each fold's training rows would choose."""

import numpy as np
import pytest

from concept_ppl.analyses import ReaderFamily, compare_controls, decompose_states
from concept_ppl.analyses.agreement.contenders import best_of, contenders
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.errors import InputError


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(200, 2))
    F = Z @ rng.normal(size=(2, 5)) + rng.normal(size=(200, 5))
    noisy = {str(k): Z + k * rng.normal(size=Z.shape) for k in (4, 1, 2)}
    return F, Z, noisy


def test_a_family_is_its_best_member_where_all_folds_agree(world):
    F, Z, family = world
    as_family = compare_controls(F, Z, {"noisy": family})
    alone = compare_controls(F, Z, {"noisy": family["1"]})
    assert as_family.controls[0].members == ("1",)
    assert as_family.best == ("noisy (1)",) * 5
    for name in ("best_share", "difference", "increment"):
        assert getattr(as_family, name) == getattr(alone, name)
    assert as_family.controls[0].share == alone.controls[0].share


def test_each_fold_takes_the_member_with_the_least_loss_inside_its_training(world):
    F, Z, _ = world
    rng = np.random.default_rng(3)
    fit = cross_fit(decompose_states(F), Z)
    # Each is worse in two folds, and so is left to those folds that train without one of them.
    folds = fit.states.design.folds
    twins = {
        name: Z + np.where(np.isin(folds, bad), 3.0, 0.5)[:, None] * rng.normal(size=Z.shape)
        for name, bad in (("a", (0, 1)), ("b", (3, 4)))
    }
    fits = {name: cross_fit(decompose_states(one), Z) for name, one in twins.items()}
    losses = np.array([one.inner_loss for one in fits.values()])
    expected = [list(fits)[i] for i in losses.argmin(axis=0)]
    assert len(set(expected)) > 1  # or this test would not tell
    found = contenders({"twins": twins}, fit)["twins"]
    assert [member for _, member in found.places] == expected
    design = fit.states.design
    for k, member in enumerate(expected):
        own = design.folds == k
        np.testing.assert_array_equal(found.sse[own], np.square(Z - fits[member].predicted)[own])


def test_the_interval_of_a_choice_that_never_varies_is_the_plain_one(world):
    F, Z, family = world
    fit = cross_fit(decompose_states(F), Z)
    chosen = best_of(list(contenders(family, fit).values()), fit.states.design)
    alone = squared_errors(cross_fit(decompose_states(family["1"]), Z))
    composed = explained_share(chosen.errors(squared_errors(fit)), 0.95)
    expected = explained_share(alone, 0.95)
    assert composed.estimate == pytest.approx(expected.estimate, rel=1e-12)
    assert composed.std_error == pytest.approx(expected.std_error, rel=1e-9)


def test_members_of_a_family_are_computed_when_they_are_asked_for(world):
    F, Z, noisy = world
    alive: list[str] = []

    def member(name):
        alive.append(name)
        return noisy[name]

    family = ReaderFamily({name: lambda name=name: member(name) for name in noisy})
    assert alive == []
    compare_controls(F, Z, {"noisy": family})
    assert alive == ["4", "1", "2", "1"]  # each once, and the best again for the joint map


def test_an_empty_family_and_no_control_are_refused(world):
    F, Z, _ = world
    with pytest.raises(InputError, match="bags is a family without members"):
        compare_controls(F, Z, {"bags": {}})
    with pytest.raises(InputError, match="There is no control"):
        compare_controls(F, Z, {})
