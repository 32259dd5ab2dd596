"""What a world can tell: the numbers of the page on worlds, and what its readers read."""

import inspect
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from concept_ppl import load_model
from concept_ppl.analyses.studies.stages.token_evidence import token_evidence
from concept_ppl.analyses.studies.world import WorldStudy
from concept_ppl.analyses.studies.world.texts import draw_texts
from concept_ppl.zoo import zoo

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from worlds import HEADS, WORLDS, measure, quiet, row, table

SHORT = (8, 10)
"""Lengths of contexts: every length is compiled, which takes most of the time of long ones."""


def told(power):
    return {name: value.estimate for name, value in power.told}


@pytest.mark.parametrize(("name", "n_concepts"), [("hidden_dice", 2), ("negated_opinions", 1)])
def test_what_tokens_say_alone_is_the_posterior_of_them_alone(name, n_concepts):
    from concept_ppl import posterior
    from concept_ppl.contexts.tokens import UNOBSERVED

    model = load_model(name, lengths=SHORT)
    texts = draw_texts(WorldStudy(name, n_contexts=60), model, quiet)
    context = 7
    start, length = texts.rows.offsets[context], texts.rows.lengths[context]
    own = texts.contexts.tokens[start : start + length]
    for width in (1, 2):
        found = token_evidence(texts.model, texts.contexts, texts.concepts, width)[
            start : start + length
        ]
        assert found.shape == (length, n_concepts)
        for t in range(length):
            lone = np.full(length, UNOBSERVED)
            lone[max(0, t - width + 1) : t + 1] = own[max(0, t - width + 1) : t + 1]
            answer = posterior(texts.model, [lone], smoothed=True)
            log_p = answer.smoothed[texts.concepts[0]][t].numpy()
            np.testing.assert_allclose(found[t], log_p[1:] - log_p[0], atol=1e-12)


def test_a_throw_says_its_log_likelihood_ratio():
    model = load_model("hidden_dice", tilt=0.8, lengths=SHORT)
    texts = draw_texts(WorldStudy("hidden_dice", n_contexts=60), model, quiet)
    favoured = np.exp(0.8) / (3 * np.exp(0.8) + 3)
    low, high = np.log(6 * favoured), np.log(6 * (1 / 3 - favoured))
    expected = np.where((texts.contexts.tokens < 3)[:, None], [[low, high]], [[high, low]])
    evidence = token_evidence(model, texts.contexts, texts.concepts, 1)
    np.testing.assert_allclose(evidence, expected, atol=1e-12)


def test_a_world_that_adds_up_is_read_by_tokens_and_one_of_negations_by_pairs_alone():
    plain = told(measure("negated_opinions", {"negation": 0.0, "lengths": (14, 15)}, 400, 0))
    assert plain["token evidence: sum"] > 0.999
    negated = told(measure("negated_opinions", {"negation": 0.4, "lengths": (14, 15)}, 400, 0))
    assert negated["token evidence: sum"] < 0.4
    assert negated["pair evidence: sum"] > 0.99


def test_a_codebook_without_exclusion_is_read_by_a_look_up_and_by_no_sum():
    power = measure("codebook", {"exclusive": False, "lengths": (9, 11)}, 400, 0)
    simple = {name: v for name, v in told(power).items() if not name.endswith("look-up")}
    del simple["posterior"], simple["most probable value"]
    assert max(simple.values()) < 0.5
    assert told(power)["word identities: look-up"] > 0.9


def test_a_row_of_the_page_has_every_column():
    power = measure("hidden_dice", {"lengths": SHORT}, 120, 2)
    line = row("dice", power)
    assert len(line) == len(HEADS)
    assert all(line)
    assert table([line]).count("\n") == 2
    quick = row("dice", measure("hidden_dice", {"lengths": SHORT}, 120, 0))
    assert quick[-3:] == ["", "", ""]


def test_every_world_of_the_page_is_in_the_zoo_and_takes_its_knobs():
    assert set(WORLDS) <= set(zoo())
    for name, settings in WORLDS.items():
        build = import_module(f"concept_ppl.models.{name}").build
        known = set(inspect.signature(build).parameters)
        assert settings[0] == {}
        assert all(set(knobs) <= known for knobs in settings)
