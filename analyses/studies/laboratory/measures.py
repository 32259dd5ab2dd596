"""What a cell of the laboratory answers: one world, and one predictor trained on it, in numbers.

The names of the numbers say whose they are: ``bayes.`` of the log-ratios of the Bayes predictive,
the limit of training; ``trained.`` and ``untrained.`` of a predictor's f(x) in the population of
all contexts; ``held_out.`` of maps that never saw a context's fold; ``control.`` of what needs no
training. Intervals end in ``.low`` and ``.high``.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from concept_ppl.analyses import (
    DecomposedStates,
    Estimate,
    canonical_correlations,
    compare_controls,
    concept_recovery,
    decompose_states,
    error_budget,
    goodness_of_fit,
    population_fit,
    posterior_form,
    shuffled,
)
from concept_ppl.bridge.anatomy.sites import EMBEDDING_MEAN, EMBEDDING_SUM, FINAL_NORM, resid
from concept_ppl.errors import InputError
from concept_ppl.predictors import (
    Predictor,
    PredictorConfig,
    Recipe,
    exact_examples,
    train,
    untrained,
)

from .cells import Cell
from .exact_worlds import JOINT, Array, ExactWorld, exact_world

Answers = dict[str, float | str]

FEWEST_REPLICATES = 40
"""Of the bootstrap of α over contexts: the least that a level of 95% needs."""
UNTRAINED, WIDE = "untrained network", "untrained network, hidden layer"
CONTROLS = (UNTRAINED, WIDE, "bag of tokens, sum", "bag of tokens, mean", "last token")
SECOND_NETWORK = 10_000
"""What is added to the seed of a network for the one that it is compared with."""
REVISION = 1
"""Of this file: raise it when a number that it answers comes to mean something else."""


@dataclass(frozen=True, slots=True)
class World:
    """A world of the zoo, all of whose contexts of one length are enumerated."""

    model: str
    parameters: Mapping[str, Any]
    length: int
    target: str = JOINT


@dataclass(frozen=True, slots=True)
class Training:
    """A predictor and how long it is trained; targets are the exact predictive."""

    architecture: str = "mlp"
    width: int = 64
    depth: int = 2
    representation: int | None = None
    learning_rate: float = 3e-3
    kl_target: float = 1e-6
    max_steps: int = 500


def cell(
    world: World,
    knobs: Mapping[str, float | str],
    *,
    training: Training | None = None,
    seed: int = 0,
    recovery: bool = False,
    agreement: bool = False,
) -> Cell:
    """Name the work of one world and, with ``training``, of one predictor.

    Parameters
    ----------
    world, training, seed
        What is made; the seed is that of the first weights, folds and shuffles.
    knobs
        What the study varies, and ``world``, the number of the random world; kept with the answers.
    recovery
        Also probe each concept.
    agreement
        Also train a second network, and ask whether the two are affine images of each other.
    """
    settings = {
        "revision": REVISION,
        "knobs": dict(knobs),
        "world": asdict(world),
        "training": None if training is None else asdict(training),
        "seed": seed,
        "recovery": recovery,
    }
    if agreement:
        settings["agreement"] = True
    return Cell(settings)


def measure(settings: Mapping[str, Any]) -> Answers:
    """Answer a cell; see the names above."""
    world = exact_world(**settings["world"])
    answers: Answers = {
        "contexts": float(len(world.weights)),
        "contrasts": float(world.log_odds.shape[1]) if not world.impossible else math.nan,
        "impossible": world.impossible,
        "information": world.information,
        "next_information": world.next_information,
    }
    if world.impossible:
        return answers
    answers |= _of_bayes(world, settings["seed"])
    if settings["training"] is not None:
        training, seed = Training(**settings["training"]), settings["seed"]
        predictor = _trained(world, training, seed)
        answers |= _of_predictor(predictor, world, training, seed, settings["recovery"])
        if settings.get("agreement"):
            second = _trained(world, training, seed + SECOND_NETWORK)
            answers |= _agreement(predictor, second, world)
    return answers


def _of_bayes(world: ExactWorld, seed: int) -> Answers:
    """Return what the log-ratios of Bayes are affine in, the limit of training."""
    budget = error_budget(world.log_joint, world.log_likelihood, world.weights)
    answers = _population("bayes", world.bayes, world)
    states = decompose_states(world.bayes, weights=world.weights, seed=seed)
    return {
        **answers,
        **_power("bayes", states, world, seed),
        "gap.squared": budget.approximation.squared,
        "gap.share": budget.approximation.share,
        "gap.target_share": 1.0 - float(answers["bayes.r2_forward"]),
        "remainder.squared": budget.remainder.squared,
        "remainder.share": budget.remainder.share,
    }


def _of_predictor(
    predictor: Predictor, world: ExactWorld, training: Training, seed: int, recovery: bool
) -> Answers:
    twin = untrained(_config(training), exact_examples(world.enumerated), seed=seed)
    contexts = world.enumerated.contexts
    F, random_F = predictor.states(contexts), twin.states(contexts)
    budget = error_budget(
        world.log_joint,
        world.log_likelihood,
        world.weights,
        log_predictor=predictor.log_predictive(contexts),
    )
    assert budget.predictor is not None
    ceiling = population_fit(F, world.bayes, world.weights)
    states = decompose_states(F, weights=world.weights, seed=seed)
    answers: Answers = {
        "kl": predictor.kl,
        "kl.share": budget.predictor.share,
        "steps": float(predictor.steps),
        "untrained.kl": twin.kl,
        "ceiling.r2_backward": ceiling.backward,
        "ceiling.r2_forward": ceiling.forward,
        **_population("trained", F, world),
        **_population("untrained", random_F, world),
        **_power("trained", states, world, seed),
        **_held_out(states, world, seed),
        **_beside_controls(states, predictor, twin, world, seed),
    }
    if recovery:
        found = concept_recovery(F, world.concepts, world.weights, seed=seed)
        answers |= {"accuracy": found.accuracy, "accuracy.bayes": found.bayes_accuracy}
    return answers


def _config(training: Training) -> PredictorConfig:
    return PredictorConfig(
        training.architecture, training.width, training.depth, training.representation
    )


def _trained(world: ExactWorld, training: Training, seed: int) -> Predictor:
    return train(
        _config(training),
        exact_examples(world.enumerated),
        seed=seed,
        kl_target=training.kl_target,
        max_steps=training.max_steps,
        recipe=Recipe(learning_rate=training.learning_rate),
    )


def _agreement(first: Predictor, second: Predictor, world: ExactWorld) -> Answers:
    """R² of two networks' states given each other, which learned apart, over all contexts."""
    contexts = world.enumerated.contexts
    fit = population_fit(first.states(contexts), second.states(contexts), world.weights)
    return {
        "agreement.forward": fit.forward,
        "agreement.backward": fit.backward,
        "agreement.kl": max(first.kl, second.kl),
    }


def _population(whose: str, F: Array, world: ExactWorld) -> Answers:
    of_log = population_fit(F, world.log_odds, world.weights)
    of_plain = population_fit(F, world.posterior, world.weights)
    of_joint = of_log
    if world.target != JOINT:
        of_joint = population_fit(F, world.joint_log_odds, world.weights)
    return {
        f"{whose}.rho2_smallest": of_log.smallest,
        f"{whose}.rho2_mean": of_log.mean,
        f"{whose}.r2_backward": of_log.backward,
        f"{whose}.r2_forward": of_log.forward,
        f"{whose}.posterior.rho2_mean": of_plain.mean,
        f"{whose}.posterior.r2_forward": of_plain.forward,
        f"{whose}.posterior.r2_backward": of_plain.backward,
        f"{whose}.joint.rho2_smallest": of_joint.smallest,
        f"{whose}.joint.r2_backward": of_joint.backward,
        f"{whose}.joint.r2_forward": of_joint.forward,
        f"{whose}.rank": float(of_log.rank),
    }


def _power(whose: str, states: DecomposedStates, world: ExactWorld, seed: int) -> Answers:
    """α̂ of a world whose contrasts are independent at every power; elsewhere it has no value."""
    try:
        form = posterior_form(states, world.tables, n_replicates=FEWEST_REPLICATES, seed=seed)
    except InputError:
        return {f"{whose}.alpha": math.nan}
    return _interval(f"{whose}.alpha", form.alpha) | {f"{whose}.form": form.verdict}


def _held_out(states: DecomposedStates, world: ExactWorld, seed: int) -> Answers:
    fit = goodness_of_fit(states, world.log_odds)
    answers = _interval("held_out.r2_backward", fit.backward)
    answers |= _interval("held_out.r2_forward", fit.forward)
    if states.width < world.log_odds.shape[1]:
        return answers
    for name, Z in (
        ("held_out", world.log_odds),
        ("shuffled", shuffled(world.log_odds, seed=seed)),
    ):
        found = canonical_correlations(states, Z)
        answers |= _interval(f"{name}.rho2_smallest", found.smallest)
        answers |= _interval(f"{name}.rho2_mean", found.mean)
    return answers


def _beside_controls(
    states: DecomposedStates,
    predictor: Predictor,
    twin: Predictor,
    world: ExactWorld,
    seed: int,
) -> Answers:
    contexts = world.enumerated.contexts
    arrays = (
        twin.states(contexts, FINAL_NORM),
        twin.states(contexts, resid(twin.n_blocks)),
        predictor.states(contexts, EMBEDDING_SUM),
        predictor.states(contexts, EMBEDDING_MEAN),
        world.last_tokens(),
    )
    controls = dict(zip(CONTROLS, arrays, strict=True))
    beside = compare_controls(states, world.log_odds, controls, seed=seed)
    answers = _interval("control.shuffled", beside.shuffled)
    for fit in beside.controls:
        answers |= {f"control.{fit.name}": fit.share.estimate}
    answers |= _interval("control.best", beside.best_share)
    answers |= _interval("difference", beside.difference)
    answers |= _interval("increment", beside.increment)
    return answers | {"control.best.name": ", ".join(dict.fromkeys(beside.best))}


def _interval(name: str, value: Estimate) -> Answers:
    return {name: value.estimate, f"{name}.low": value.ci_low, f"{name}.high": value.ci_high}
