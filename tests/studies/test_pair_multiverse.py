"""What other estimators would have said stands beside the verdict, and in it where they differ."""

import numpy as np
import pytest

from concept_ppl.analyses.results.rows import Estimate
from concept_ppl.analyses.studies.word_pairs.answers import Settings, analyse_pairs
from concept_ppl.analyses.studies.word_pairs.multiverse import Fork, Multiverse
from concept_ppl.analyses.studies.word_pairs.multiverse_section import multiverse_section
from concept_ppl.analyses.studies.word_pairs.plan import CONTROLS, HEADLINE, HEADLINE_SITE
from concept_ppl.analyses.studies.word_pairs.states import BAG, ModelWords
from concept_ppl.analyses.studies.word_pairs.verdicts import pair_verdict
from concept_ppl.contexts.counterfactual_pairs import PairLists

WIDTH, N = 14, 40
SITES = ("embedding", "resid.1", HEADLINE_SITE)


def states(rng, *, noise, nuisance):
    """Words of two concepts; every word carries, apart from noise, a few loud directions."""
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)))[0]
    stems = np.repeat(rng.normal(size=(2 * N, WIDTH)), 2, axis=0)
    offsets = np.repeat(axes[:2], 2 * N, axis=0) * np.tile([[0.0], [1.0]], (2 * N, 1))
    loud = nuisance * rng.normal(size=(4 * N, 3)) @ axes[2:5]
    return stems + offsets + loud + noise * rng.normal(size=(4 * N, WIDTH))


def words(seed, model, control):
    rng = np.random.default_rng(seed)
    trained = {site: states(rng, **model) for site in SITES}
    trained["embedding"] = states(rng, **control)
    trained[BAG] = trained["embedding"]
    untrained = {site: rng.normal(size=(4 * N, WIDTH)) for site in SITES}
    return ModelWords(
        name="planted",
        sites=SITES,
        trained=trained,
        untrained=untrained,
        tokens=((0,),) * (4 * N),
        unembedding=np.full((4 * N, WIDTH), np.nan),
        causal=np.eye(WIDTH),
        skipped={},
        sinks=dict.fromkeys(SITES, 0),
        provenance={},
    )


def pairs():
    first = np.arange(0, 4 * N, 2)
    names = tuple(f"w{i}" for i in range(4 * N))
    return PairLists(("a", "b"), names, np.repeat([0, 1], N), first, first + 1, ())


def answers(model, control):
    settings = Settings(n_splits=2, n_flips=999, seed=0, level=0.95)
    return analyse_pairs(words(0, model, control), pairs(), settings, lambda *_: None)


@pytest.fixture(scope="module")
def divided():
    """Loud directions hide the control from mean differences, and nothing from whitening."""
    return answers({"noise": 0.35, "nuisance": 0.0}, {"noise": 0.1, "nuisance": 3.0})


def test_every_estimator_layer_and_control_has_its_interval(divided):
    table = divided.tidy()
    own = table[table["analysis"] == "multiverse"]
    assert len(own) == (3 * 2 + 1) * len(CONTROLS)  # logistic weights at one layer
    assert not own.duplicated(["term", "layer", "control"]).any()
    assert (own["ci_low"] < own["ci_high"]).all()


def test_the_fork_that_was_chosen_is_the_verdict(divided):
    fork = divided.multiverse.at_headline()[HEADLINE]
    assert fork.control == divided.best_control
    named = divided.differences[fork.control].mean
    assert (fork.difference.estimate, fork.difference.ci_low) == (named.estimate, named.ci_low)


def test_estimators_that_disagree_are_named_in_the_first_sentence(divided):
    signs = {name: fork.sign for name, fork in divided.multiverse.at_headline().items()}
    assert (signs["whitened"], signs["mean difference"]) == (-1, 1)
    verdict = pair_verdict(divided)
    assert verdict.tone == "undecided"
    assert "mean difference weights say more" in verdict.sentence
    assert "is less than that of the best control" in verdict.sentence


def test_estimators_that_agree_leave_the_verdict_as_it_was():
    agreed = answers({"noise": 0.1, "nuisance": 0.0}, {"noise": 1.0, "nuisance": 3.0})
    verdict = pair_verdict(agreed)
    assert verdict.tone == "supported"
    assert verdict.sentence.startswith(f"Yes: at {HEADLINE_SITE}")


def test_the_panel_rings_the_choice_and_counts_the_others(divided):
    section = multiverse_section(divided)
    (figure,) = section.figures
    assert len(figure.data) == (3 * 2 + 1) * len(CONTROLS)
    assert "lie above zero" in figure.description
    assert list(section.tables[0].frame["weights"]) == list(divided.multiverse.at_headline())


def fork(estimator, low, high):
    value = Estimate((low + high) / 2, 0.1, low, high, 0.95, float("nan"), 10, 10)
    return Fork(estimator, HEADLINE_SITE, CONTROLS[0], value)


@pytest.mark.parametrize(
    ("headline", "others", "against"),
    [
        ((0.1, 0.2), [(-0.2, -0.1), (0.1, 0.2)], 1),
        ((0.1, 0.2), [(-0.2, 0.1), (0.1, 0.2)], 0),
        ((-0.1, 0.2), [(-0.2, -0.1), (0.1, 0.2)], 2),
        ((-0.1, 0.2), [(0.1, 0.2), (0.1, 0.3)], 0),
        ((-0.2, -0.1), [(0.1, 0.2), (0.1, 0.3)], 2),
    ],
)
def test_only_intervals_on_opposite_sides_are_a_disagreement(headline, others, against):
    named = [fork(HEADLINE, *headline)]
    named += [fork(f"other {i}", *ends) for i, ends in enumerate(others)]
    found = Multiverse(tuple(named), {f.estimator: CONTROLS[0] for f in named})
    assert len(found.against_headline()) == against
