"""All analyses of one model's states: they find what was planted, and share rows, folds, labels."""

import numpy as np
import pandas as pd
import pytest

from concept_ppl.analyses import RESULT_COLUMNS, goodness_of_fit
from concept_ppl.analyses.designs.decomposition import decompose
from concept_ppl.analyses.studies.stages import state_analyses
from concept_ppl.analyses.studies.stages.posterior_contrasts import map_one_hot
from concept_ppl.analyses.studies.stages.row_clusters import cluster_by_row, cluster_by_states
from concept_ppl.analyses.studies.stages.state_analyses import (
    LOG_ODDS,
    POSTERIOR,
    RANDOM_WEIGHTS,
    Design,
    analyse_states,
    varying_log_odds,
)
from concept_ppl.errors import InputError

from .planted import N, analyse, planted_world


def test_an_affine_image_is_invertible_and_noise_is_not():
    world = planted_world()
    exact = world.image(world.odds, noise=0.01)
    answers = analyse(world, {"early": world.noise(), "final": exact})
    assert answers.fits[LOG_ODDS].backward.ci_low > 0.99
    assert answers.correlations[LOG_ODDS].smallest.ci_low > 0.99
    assert answers.contrasts == ("topic.b:a", "topic.c:a", "mood.v:u")
    early, final = answers.curve.fits
    assert (early.layer, final.layer) == ("early", "final")
    assert early.backward.ci_low < 0 < early.backward.ci_high
    np.testing.assert_allclose(answers.true, world.odds)
    np.testing.assert_allclose(answers.decoded, world.odds, atol=0.2)


def test_states_that_lose_one_direction_are_not_invertible():
    world = planted_world()
    lossy = world.image(world.odds[:, :2], noise=0.01)
    answers = analyse(world, {"final": lossy})
    assert answers.correlations[LOG_ODDS].mean.estimate > 0.6
    assert answers.correlations[LOG_ODDS].smallest.ci_high < 0.2


def test_an_image_of_the_posterior_itself_is_no_image_of_its_logarithm():
    world = planted_world()
    p = np.exp(world.posterior.to_numpy())[:, [1, 2, 4]]
    answers = analyse(world, {"final": world.image(p, noise=0.001)})
    assert answers.fits[POSTERIOR].backward.ci_low > 0.99
    assert answers.fits[LOG_ODDS].backward.ci_high < 0.99


def test_the_numbers_are_those_of_the_analyses_alone():
    world = planted_world(n=120)
    states = world.image(world.odds, noise=1.0)
    answers = analyse(world, {"final": states})
    alone = goodness_of_fit(states.astype(np.float64), world.odds, seed=0)
    assert answers.fits[LOG_ODDS].backward == alone.backward
    assert answers.curve.fits[0].backward == alone.backward


def test_repeated_contexts_count_once():
    world = planted_world(n=100)
    thrice = type(world)(pd.concat([world.posterior] * 3, ignore_index=True), world.rng)
    once = world.image(world.odds, noise=1.0)
    states = np.vstack([once] * 3)
    answers = analyse_states(
        {"final": states},
        thrice.posterior,
        Design(cluster_by_row(states)),
        headline="final",
        controls={},
    )
    single = analyse(world, {"final": once}).fits[LOG_ODDS].backward
    repeated = answers.fits[LOG_ODDS].backward
    assert (repeated.n, repeated.n_clusters) == (300, 100)
    assert repeated.estimate == pytest.approx(single.estimate, abs=0.02)
    assert repeated.std_error == pytest.approx(single.std_error, rel=0.1)


def test_random_weights_are_a_curve_of_their_own_and_a_control():
    world = planted_world(n=120)
    exact, random = world.image(world.odds, noise=0.01), world.noise()
    answers = analyse(world, {"final": exact}, random_states={"final": random})
    assert answers.controls is not None
    assert answers.controls.best == (RANDOM_WEIGHTS,) * 5
    assert answers.controls.difference.ci_low > 0.5
    assert answers.random_curve is not None
    assert answers.random_curve.fits[0].backward.estimate < 0.2
    assert set(answers.tidy()["control"]) >= {RANDOM_WEIGHTS, "MAP one-hot", "best"}


def test_a_site_that_never_varies_is_left_out_and_a_control_that_never_varies_tells_nothing():
    world = planted_world(n=120)
    comma = np.ones((120, 8), np.float32)
    exact = world.image(world.odds, noise=0.01)
    answers = analyse(world, {"embedding": comma, "final": exact}, controls={"last token": comma})
    assert [fit.layer for fit in answers.curve.fits] == ["final"]
    assert answers.controls is not None
    assert answers.controls.controls[0].share.estimate == pytest.approx(0, abs=0.05)


def test_every_number_is_a_row_of_one_tidy_table():
    world = planted_world(n=120)
    answers = analyse(
        world, {"final": world.image(world.odds, noise=1.0)}, controls={"bag": world.noise()}
    )
    tidy = answers.tidy()
    assert tuple(tidy.columns) == RESULT_COLUMNS
    assert set(tidy["analysis"]) == {
        *("layer_curve", "goodness_of_fit", "canonical_correlations"),
        *("compare_controls", "contrast_tables", "equivalence", "invertibility"),
        *("linearity", "posterior_form"),
    }
    assert not tidy.duplicated(list(RESULT_COLUMNS[:5])).any()
    assert (tidy["n"] == 120).all()


def test_progress_counts_every_decomposition_and_claim():
    world = planted_world(n=60)
    seen = []
    analyse(
        world,
        {"a": world.noise(), "final": world.noise()},
        controls={"bag": world.noise(), "comma": np.ones((60, 2), np.float32)},
        random_states={"final": world.noise()},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(k, 9) for k in range(1, 10)]


def test_one_site_at_a_time_is_in_memory(monkeypatch):
    """Decompositions are large: when a site is decomposed, only the headline's lies beside it."""
    import gc

    from concept_ppl.analyses import DecomposedStates

    alive = []

    def count():
        gc.collect()
        return sum(type(thing) is DecomposedStates for thing in gc.get_objects())

    def watched(array, **options):
        alive.append(count())
        return original(array, **options)

    original = state_analyses.decompose_states
    monkeypatch.setattr(state_analyses, "decompose_states", watched)
    world = planted_world(n=60)
    before = count()  # other tests may hold some
    analyse(world, {"final": world.noise()} | {str(k): world.noise() for k in range(2)})
    assert max(alive) == before + 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda table: table.assign(**{"log_p.mood.v": -np.inf, "log_p.mood.u": 0.0}), "row 0"),
        (lambda table: table.assign(**{"log_p.mood.v": -1.0, "log_p.mood.u": -1.0}), "same in"),
        (lambda table: table[["log_p.mood.v"]], "no concept with two values"),
    ],
)
def test_log_odds_without_a_finite_value_that_varies_are_refused_by_name(spoil, words):
    with pytest.raises(InputError, match=f"my table.*{words}"):
        varying_log_odds(spoil(planted_world(n=20).posterior), "my table")


def test_a_headline_that_is_not_there_or_never_varies_is_refused():
    world = planted_world(n=60)
    with pytest.raises(InputError, match="no states at site 'last'; there are: final"):
        analyse(world, {"final": world.noise()}, headline="last")
    with pytest.raises(InputError, match="'final' is the same for every context"):
        analyse(world, {"final": np.ones((60, 4), np.float32)})
    with pytest.raises(InputError, match="59 states do not match 60 posterior rows"):
        analyse(world, {"final": world.noise()[1:]})


def test_the_most_probable_value_is_an_indicator_for_all_but_the_first():
    posterior = pd.DataFrame(
        np.log([[0.5, 0.3, 0.2, 0.1, 0.9], [0.1, 0.2, 0.7, 0.8, 0.2], [0.2, 0.6, 0.2, 0.3, 0.7]]),
        columns=["log_p.t.a", "log_p.t.b", "log_p.t.c", "log_p.m.u", "log_p.m.v"],
    )
    np.testing.assert_array_equal(map_one_hot(posterior), [[0, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_equal_rows_are_one_cluster_counted_as_they_first_appear():
    rows = np.array([[3.0, 1.0], [0.0, 2.0], [3.0, 1.0], [0.0, 2.5], [0.0, 2.0]], np.float32)
    for layout in (rows, np.asfortranarray(rows), np.hstack([rows, rows])[:, :2], rows[:, ::-1]):
        np.testing.assert_array_equal(cluster_by_row(layout), [0, 1, 0, 2, 1])
    np.testing.assert_array_equal(cluster_by_row(rows[:1]), [0])


def test_contexts_that_agree_at_one_site_are_told_apart_at_another():
    comma = np.ones((4, 2), np.float32)
    last = np.array([[2.0], [1.0], [2.0], [3.0]], np.float32)
    np.testing.assert_array_equal(cluster_by_states({"a": comma, "b": last}), [0, 1, 0, 2])
    np.testing.assert_array_equal(cluster_by_states({"b": last, "a": comma}), [0, 1, 0, 2])
    np.testing.assert_array_equal(cluster_by_states({"a": comma}), [0, 0, 0, 0])


def test_folds_follow_the_order_of_contexts_and_not_the_numbers_in_the_states():
    world = planted_world(n=N // 4)
    states = world.image(world.odds, noise=1.0)
    first, second = (decompose(F.astype(np.float64), _design(F)) for F in (states, -7 * states + 1))
    np.testing.assert_array_equal(first.design.folds, second.design.folds)


def _design(F):
    from concept_ppl.analyses.designs.design import make_design

    return make_design(len(F), clusters=cluster_by_row(F))
