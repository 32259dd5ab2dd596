"""Which of two models tells more of the same posterior, and do they tell the same?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from concept_ppl.analyses import (
    CrossModel,
    DecomposedStates,
    ModelDifference,
    cross_model,
    decoded_contrasts,
    decompose_states,
    model_difference,
)

from .announcements import Counter, Progress
from .model_states import HEADLINE, ModelStates
from .posterior_contrasts import varying_log_odds
from .side_by_side import state_agreement
from .state_analyses import LOG_ODDS, Design

DECODED = "decoded"


@dataclass(frozen=True)
class StateComparison:
    """Two models' states of the same contexts, at the headline site.

    Attributes
    ----------
    difference
        How much more of the log-odds the first model tells than the second, paired.
    states
        How far the leading components of one model's states are an affine image of the other's.
    decoded
        The same of the log-odds as decoded from the held-out states of each: what both say of the
        concept, right or wrong.
    """

    difference: ModelDifference
    states: CrossModel
    decoded: CrossModel

    def tidy(self) -> pd.DataFrame:
        """All three; the agreement of decoded log-odds under an analysis of its own."""
        decoded = self.decoded.tidy()
        decoded = decoded.assign(analysis=f"{DECODED}_" + decoded["analysis"])
        frames = [self.difference.tidy(), self.states.tidy(), decoded]
        return pd.concat(frames, ignore_index=True)


def compare_states(
    models: tuple[ModelStates, ModelStates],
    posterior: pd.DataFrame,
    design: Design,
    progress: Progress,
) -> StateComparison:
    """Compare two models on the same contexts, folds and posterior.

    Parameters
    ----------
    models
        What `read_model_states` read of the same texts.
    posterior
        A posterior table, one row for each of them.
    design
        Clusters, folds, seed, level.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    InputError
        If a log-odds is infinite or constant, or a model has fewer coordinates than there are.
    """
    counter = Counter(5, progress)
    odds = varying_log_odds(posterior)
    Z = odds.to_numpy(np.float64)
    names = (models[0].name, models[1].name)
    labels: dict[str, Any] = {"layer": HEADLINE, "seed": design.seed, "level": design.level}
    # One thread, as in `analyse_states`.
    with threadpool_limits(1, user_api="blas"):
        first, second = (_decomposed(model, design, counter) for model in models)
        difference = model_difference(
            first, second, Z, names=tuple(odds.columns), models=names, target=LOG_ODDS, **labels
        )
        counter.step()
        states = state_agreement(
            [model.trained[HEADLINE] for model in models],
            names=names,
            clusters=design.clusters,
            **labels,
        )
        counter.step()
        decoded = cross_model(
            decoded_contrasts(first, Z),
            decoded_contrasts(second, Z),
            n_directions=Z.shape[1],
            clusters=design.clusters,
            names=names,
            n_folds=design.n_folds,
            **labels,
        )
        counter.step()
    return StateComparison(difference, states, decoded)


def _decomposed(model: ModelStates, design: Design, counter: Counter) -> DecomposedStates:
    result = decompose_states(
        model.trained[HEADLINE].astype(np.float64),
        clusters=design.clusters,
        n_folds=design.n_folds,
        seed=design.seed,
    )
    counter.step()
    return result
