"""Whose posterior does a model hold? What its own next word implies, beside the exact one.

A pretrained model is Bayes, at best, in the world that it was trained on. The weights of concept
values that its next-word distribution implies are its own posterior: how far it is from the exact
one is a matter of belief, how affine the state is in its logarithm one of form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from concept_ppl.analyses import (
    Beliefs,
    Estimate,
    GoodnessOfFit,
    ImpliedPosterior,
    PosteriorForm,
    Row,
    beliefs,
    decompose_states,
    goodness_of_fit,
    implied_posterior,
    posterior_form,
)
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.designs.shares import cluster_mean
from concept_ppl.analyses.results.rows import result_frame
from concept_ppl.errors import InputError

from .state_analyses import Design

SMOOTHING = 1e-3
"""Of the implied weights, in units of all tokens."""
OWN_LOG_ODDS, OWN_POSTERIOR = "own_log_odds", "own_posterior"

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NextWord:
    """What a model says of the first token of the next word, and what the world says of it.

    Attributes
    ----------
    log_predictive
        (m, V) the model's own log-probabilities in nats, over its whole vocabulary.
    log_emission
        (K, V) log p(first token | value).
    values
        The values' names.
    """

    log_predictive: Array
    log_emission: Array
    values: tuple[str, ...]


@dataclass(frozen=True)
class OwnPosterior:
    """The posterior that a model's own predictions imply.

    Attributes
    ----------
    predictor_gap
        Mean KL, nats, of Bayes's distribution over the first tokens of next words to the model's,
        renormalised on them.
    implied, beliefs
        The implied weights, and how far they are from the exact posterior.
    fit, form
        Of the headline state, on its own log-odds; None where these hardly vary.
    """

    predictor_gap: Estimate
    implied: ImpliedPosterior
    beliefs: Beliefs
    fit: GoodnessOfFit | None
    form: PosteriorForm | None

    def tidy(self) -> pd.DataFrame:
        """Return every number, one row each."""
        gap = Row("predictor_gap", "kl", "next_word", self.predictor_gap)
        frames = [result_frame([gap]), self.implied.tidy(), self.beliefs.tidy()]
        frames += [one.tidy() for one in (self.fit, self.form) if one is not None]
        return pd.concat(frames, ignore_index=True)


def ask_own_posterior(
    said: NextWord | str, states: NDArray[np.float32], log_p: Sequence[Array], design: Design
) -> OwnPosterior | str:
    """Fit the implied weights, hold them to the exact posterior, the state to their logarithm.

    Weights are smoothed a little, so that none is zero and every context has log-odds: leaving out
    those in which one is zero would be a selection.

    Parameters
    ----------
    said
        What the model says of the next word, or why there is nothing.
    states
        (m, width) of the model, at ``final_norm``.
    log_p
        The exact log-posterior (m, K) of the one concept that next words tell of.
    design
        Clusters, folds and level.
    """
    if isinstance(said, str):
        return said
    try:
        implied = implied_posterior(
            said.log_predictive,
            said.log_emission,
            clusters=design.clusters,
            values=said.values,
            smoothing=SMOOTHING,
            level=design.level,
        )
    except InputError as error:
        return sentence(error)
    [exact] = log_p
    held = beliefs(implied.log_weights, exact, clusters=design.clusters, level=design.level)
    fit, form = _form(implied, states, design)
    return OwnPosterior(_predictor_gap(said, exact, design), implied, held, fit, form)


def sentence(error: InputError) -> str:
    """Let the reason why something cannot be asked begin as a sentence of a page does."""
    return f"{str(error)[:1].upper()}{str(error)[1:]}"


def _predictor_gap(said: NextWord, log_p: Array, design: Design) -> Estimate:
    bayes = special.logsumexp(log_p[:, :, None] + said.log_emission, axis=1)
    own = special.log_softmax(said.log_predictive, axis=1)
    terms = np.where(np.isneginf(bayes), 0.0, np.exp(bayes) * (bayes - own))
    rows = make_design(
        len(log_p), clusters=design.clusters, n_folds=design.n_folds, seed=design.seed
    )
    return cluster_mean(terms.sum(axis=1), rows, design.level)


def _form(
    implied: ImpliedPosterior, states: NDArray[np.float32], design: Design
) -> tuple[GoodnessOfFit | None, PosteriorForm | None]:
    """Ask how affine the state is in its own log-posterior."""
    try:
        F = decompose_states(
            states.astype(np.float64),
            clusters=design.clusters,
            n_folds=design.n_folds,
            seed=design.seed,
        )
        options: dict[str, Any] = {"seed": design.seed, "level": design.level}
        return (
            goodness_of_fit(
                F, implied.log_odds(), target=OWN_LOG_ODDS, layer="final_norm", **options
            ),
            posterior_form(
                F, implied.log_weights, target=OWN_POSTERIOR, layer="final_norm", **options
            ),
        )
    except InputError:  # weights that hardly vary, or powers of which are collinear to rounding
        return None, None
