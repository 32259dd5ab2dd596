"""Two models on the same contexts: what is planted in one, in both, or in neither is told apart."""

import numpy as np
import pytest

from concept_ppl.analyses.studies.stages.model_states import HEADLINE, ModelStates
from concept_ppl.analyses.studies.stages.side_by_side import names_on_page, state_agreement
from concept_ppl.analyses.studies.stages.state_analyses import Design
from concept_ppl.analyses.studies.stages.state_comparison import compare_states

from .planted import N, planted_world


def model(name, states):
    """All that a comparison reads of a model."""
    return ModelStates(name, {HEADLINE: states}, {}, (HEADLINE,))


def compare(world, first, second):
    done = []
    found = compare_states(
        (model("one", first), model("two", second)),
        world.posterior,
        Design(np.arange(N)),
        lambda *step: done.append(step),
    )
    assert done[-1] == (len(done), len(done))
    return found


def test_a_model_that_shows_the_log_odds_tells_more_than_noise():
    world = planted_world()
    found = compare(world, world.image(world.odds, noise=0.3), world.noise())
    assert found.difference.models == ("one", "two")
    assert found.difference.r2.ci_low > 0.8
    assert found.difference.smallest.ci_low > 0.5
    assert found.decoded.mean.ci_high < 0.2
    names = [name for name, _ in found.difference.per_contrast]
    assert names == ["topic.b:a", "topic.c:a", "mood.v:u"]


def test_two_images_of_the_log_odds_agree_on_them_whatever_else_they_hold():
    world = planted_world()
    first, second = (
        np.hstack([world.image(world.odds, noise=0.1), world.noise(5.0)]) for _ in range(2)
    )
    found = compare(world, first, second)
    assert abs(found.difference.r2.estimate) < 0.01
    assert found.decoded.forward.ci_low > 0.95
    assert found.states.forward.ci_high < 0.5


def test_every_number_is_a_row_that_can_be_told_from_the_others():
    world = planted_world()
    table = compare(world, world.image(world.odds, 0.3), world.noise()).tidy()
    assert set(table["analysis"]) == {"model_difference", "cross_model", "decoded_cross_model"}
    assert not table.duplicated(["analysis", "quantity", "term", "layer", "control"]).any()


def test_an_affine_image_agrees_in_full_though_its_axes_are_others():
    rng = np.random.default_rng(0)
    F = (rng.normal(size=(200, 6)) * np.arange(1, 7)).astype(np.float32)
    turned = (F @ rng.normal(size=(6, 6)) + 1).astype(np.float32)
    found = state_agreement(
        [F, turned],
        names=("one", "two"),
        clusters=np.arange(200),
        layer="x",
        seed=0,
        level=0.95,
    )
    assert found.forward.estimate == pytest.approx(1.0, abs=1e-6)
    assert found.backward.estimate == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["smollm2", "EleutherAI/pythia-70m"], ["smollm2", "pythia-70m"]),
        (["models/one", "models/two.gguf"], ["one", "two"]),
        (["a/model", "b/model"], ["a/model", "b/model"]),
    ],
)
def test_a_page_calls_models_by_the_last_part_of_their_names_where_that_tells_them(given, shown):
    assert names_on_page(given) == dict(zip(shown, given, strict=True))
