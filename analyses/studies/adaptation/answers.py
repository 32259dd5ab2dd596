"""What is asked at each look, of a language model's states and predictions, and of Bayes's own."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from concept_ppl.analyses import (
    DecomposedStates,
    Estimate,
    FittedControls,
    canonical_correlations,
    compare_controls,
    decompose_states,
    goodness_of_fit,
    posterior_form,
)
from concept_ppl.analyses.studies.stages.own_posteriors import NextWord, ask_own_posterior
from concept_ppl.analyses.studies.stages.state_analyses import Design
from concept_ppl.contexts.posterior_tables import concept_columns, log_odds
from concept_ppl.errors import InputError
from concept_ppl.inference import next_token_emission
from concept_ppl.predictors.adaptation import Texts, WorldWords

Array = NDArray[np.float64]
Answers = dict[str, Estimate]
"""Estimates by the name of what they are estimates of."""

BAYES = "Bayes's log-ratios"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Texts that no training sees, with their exact answers.

    Attributes
    ----------
    sentences : list of str
        What the language model reads, up to where its state is taken.
    log_odds : array, shape (n, K − 1)
        Of the concept, nats.
    log_posterior : array, shape (n, K)
        Of the concept.
    log_predictive : array, shape (n, n_following)
        Bayes's log p(following word | context), or of the words' first tokens.
    log_emission : array, shape (K, n_following), or None
        The same given each value of the concept; None where the next word is no function of it.
    values : tuple of str
        Names of the K values.
    clusters : array, shape (n,)
        The number of each row's distinct text.
    seed, level
        Of the folds, and of the intervals.
    """

    sentences: list[str]
    log_odds: Array
    log_posterior: Array
    log_predictive: Array
    log_emission: Array | None
    values: tuple[str, ...]
    clusters: NDArray[np.int64]
    seed: int
    level: float

    @property
    def log_ratios(self) -> Array:
        """Bayes's log p(word) − log p(first word): what theory gives f(x) the form of."""
        return self.log_predictive[:, 1:] - self.log_predictive[:, :1]

    @property
    def design(self) -> Design:
        """Clusters, folds and level."""
        return Design(self.clusters, seed=self.seed, level=self.level)


@dataclass(frozen=True, eq=False)
class Beside:
    """What every look is held against, fitted to the held-out texts.

    Attributes
    ----------
    controls
        That need no learning; each fold takes the best of them.
    others
        Bayes's log-ratios, and rules that a model has to learn; each by itself.
    """

    controls: FittedControls
    others: FittedControls


def held_out(words: WorldWords, texts: Texts, *, seed: int, level: float) -> HeldOut:
    """Answer held-out texts exactly.

    Raises
    ------
    InputError
        If a log-posterior is infinite, so that it has no contrasts, or a following word impossible.
    """
    table = words.log_posterior(texts.contexts)
    odds = log_odds(table).to_numpy(np.float64)
    predictive = words.log_predictive(texts.contexts)
    for name, values in (("log-odds", odds), ("log-predictive", predictive)):
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(rows):
            raise InputError(
                f"the {name} of {words.concept} are infinite in held-out context {rows[0]}; give "
                "the world no zeros."
            )
    columns = concept_columns(table)[words.concept]
    prefix = f"log_p.{words.concept}."
    return HeldOut(
        words.sentences(words.read(texts.contexts)),
        odds,
        table[columns].to_numpy(np.float64),
        predictive,
        _emission(words, texts),
        tuple(str(column).removeprefix(prefix) for column in columns),
        texts.contexts.unique()[1],
        seed,
        level,
    )


def _emission(words: WorldWords, texts: Texts) -> Array | None:
    """Return log p(following word | value), nats, where the next word hangs on the concept."""
    if words.closing:
        return None
    try:
        longest = int(texts.contexts.lengths.max())
        rows = next_token_emission(words.model, longest, words.concept)
    except InputError:  # several concepts make the next word: one value alone does not say it
        return None
    return np.asarray(rows.log_p.numpy(force=True))


def of_predictions(log_p: Array, mass: Array, held: HeldOut) -> Answers:
    """Return the predictor gap, in nats, and what the model gives to all words that may follow.

    Parameters
    ----------
    log_p
        (n, n_following) of the model, renormalised over these words.
    mass
        (n,) what it gives to all of them.
    """
    p = np.exp(held.log_predictive)
    kl = (p * (held.log_predictive - log_p)).sum(axis=1)
    return {
        "predictor_gap": _positive(_mean(np.maximum(kl, 0.0), held)),
        "mass": _mean(mass, held),
    }


def of_states(states: NDArray[np.float32], held: HeldOut) -> Answers:
    """Return how far the states are an invertible affine image of the log-posterior."""
    return _of_decomposed(_decomposed(states, held), held)


def of_ceiling(held: HeldOut) -> Answers:
    """Return the same of Bayes's own log-predictive ratios as states: all that prediction asks for.

    And the gap of a predictor that knows how often each word follows, and nothing of the context.
    """
    p = np.exp(held.log_predictive)
    kl = (p * (held.log_predictive - np.log(p.mean(axis=0)))).sum(axis=1)
    return {
        "uninformed_gap": _positive(_mean(kl, held)),
        **_of_decomposed(_decomposed(held.log_ratios, held), held),
    }


def of_own_posterior(log_p: Array, states: NDArray[np.float32], held: HeldOut) -> Answers:
    """Return how far the model's own posterior is from the exact one, and how affine the states.

    The weights of the concept's values that its next word implies; nothing where the next word is
    no function of the concept, or implies none.

    Parameters
    ----------
    log_p
        (n, n_following) of the model.
    states
        (n, width) of the model.
    """
    if held.log_emission is None:
        return {}
    said = NextWord(log_p, held.log_emission, held.values)
    own = ask_own_posterior(said, states, [held.log_posterior], held.design)
    if isinstance(own, str):
        return {}
    answers = {"own_distance": own.beliefs.jensen_shannon}
    if own.fit is not None:
        answers["own_r2_backward"] = own.fit.backward
    if own.form is not None:
        answers["own_alpha"] = own.form.alpha
    return answers


def of_model(states: NDArray[np.float32], stands_beside: Beside, held: HeldOut) -> Answers:
    """Return `of_states`, and the states beside controls, rules and the ceiling."""
    own = _decomposed(states, held)
    options: dict[str, Any] = {"seed": held.seed, "level": held.level}
    beside = compare_controls(own, held.log_odds, stands_beside.controls, **options)
    against = compare_controls(own, held.log_odds, stands_beside.others, **options)
    others = {fit.name: fit for fit in against.controls}
    return {
        **_of_decomposed(own, held),
        "r2_bayes": goodness_of_fit(own, held.log_ratios, level=held.level).backward,
        **{f"r2_backward:{fit.name}": fit.share for fit in beside.controls},
        **{f"r2_rule:{name}": fit.share for name, fit in others.items() if name != BAYES},
        "r2_backward:shuffled": beside.shuffled,
        "r2_backward:best": beside.best_share,
        "r2_difference:best": beside.difference,
        "r2_increment:best": beside.increment,
        "r2_difference:ceiling": others[BAYES].difference,
    }


def _decomposed(states: NDArray[np.floating], held: HeldOut) -> DecomposedStates:
    return decompose_states(np.asarray(states, np.float64), clusters=held.clusters, seed=held.seed)


def _of_decomposed(states: DecomposedStates, held: HeldOut) -> Answers:
    fit = goodness_of_fit(states, held.log_odds, level=held.level)
    answers = {"r2_backward": fit.backward, "r2_forward": fit.forward}
    try:
        found = canonical_correlations(states, held.log_odds, level=held.level)
        answers |= {"rho2_smallest": found.smallest, "rho2_mean": found.mean}
    except InputError:  # states narrower than the contrasts keep no direction apart
        pass
    try:
        form = posterior_form(states, held.log_posterior, seed=held.seed, level=held.level)
        answers |= {"alpha": form.alpha, "r2_log_minus_plain": form.difference}
    except InputError:  # contrasts that are collinear at some power have no best one
        pass
    return answers


def _mean(values: Array, held: HeldOut) -> Estimate:
    """Mean over contexts, with Student's interval over distinct ones."""
    n, n_clusters = len(values), int(held.clusters.max()) + 1
    mean = float(values.mean())
    deviations = np.bincount(held.clusters, weights=values - mean)
    error = math.sqrt(float(np.square(deviations).sum()) * n_clusters / (n_clusters - 1)) / n
    reach = float(stats.t.ppf(0.5 + held.level / 2.0, n_clusters - 1)) * error
    return Estimate(mean, error, mean - reach, mean + reach, held.level, math.nan, n, n_clusters)


def _positive(value: Estimate) -> Estimate:
    """Put the interval of a mean that is not below 0 on the scale of its logarithm."""
    if not value.estimate > 0.0:
        return value
    factor = math.exp((value.ci_high - value.estimate) / value.estimate)
    return replace(value, ci_low=value.estimate / factor, ci_high=value.estimate * factor)


def as_records(answers: Answers) -> Iterator[dict[str, float | str | int | None]]:
    """Yield each estimate as what JSON holds, NaN and infinity as null."""
    for name, value in answers.items():
        yield {
            "quantity": name,
            "estimate": _finite(value.estimate),
            "std_error": _finite(value.std_error),
            "ci_low": _finite(value.ci_low),
            "ci_high": _finite(value.ci_high),
            "ci_level": value.ci_level,
            "p_value": _finite(value.p_value),
            "n": value.n,
            "n_clusters": value.n_clusters,
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
