"""What a world can tell, what the best predictor would show in it, and what each model shows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from concept_ppl.analyses import (
    CanonicalCorrelations,
    Equivalence,
    GoodnessOfFit,
    PosteriorForm,
    ReaderFamily,
    WorldPower,
    canonical_correlations,
    decompose_states,
    equivalence,
    goodness_of_fit,
    posterior_form,
    world_power,
)
from concept_ppl.analyses.studies.stages.announcements import Progress
from concept_ppl.analyses.studies.stages.model_states import CEILING, is_rule
from concept_ppl.analyses.studies.stages.posterior_contrasts import varying_log_odds
from concept_ppl.analyses.studies.stages.state_analyses import (
    LOG_ODDS,
    POSTERIOR,
    Design,
    StateAnalyses,
)
from concept_ppl.analyses.studies.stages.token_evidence import TOKEN_EVIDENCE

from .models import ModelAnswers
from .plan import WorldStudy
from .texts import WorldTexts

WIDEST = 256
"""Most coordinates of the ceiling: leading components of Bayes's log-ratios."""
MOST_WORDS = 1024
"""Of a larger vocabulary of next words so many, evenly spread, carry the ceiling."""
LEAST_SHARE = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CeilingAnswers:
    """The analyses of the headline, of Bayes's log-predictive ratios as states.

    What a perfect next-token predictor of this world would show: what a model misses below it is
    the model's, what it misses of the claim is the theory's. ``states`` (m, d) are these ratios;
    where they have fewer directions d than the log-odds, no map of them can be inverted, and there
    are neither correlations nor a test of equivalence.
    """

    states: Array
    fit: GoodnessOfFit
    form: PosteriorForm
    correlations: CanonicalCorrelations | None = None
    equivalence: Equivalence | None = None

    def tidy(self) -> pd.DataFrame:
        """Return every number, its control named ``ceiling``."""
        parts = (self.fit, self.correlations, self.equivalence, self.form)
        frame = pd.concat([part.tidy() for part in parts if part is not None], ignore_index=True)
        return frame.assign(control=CEILING)


@dataclass(frozen=True)
class WorldAnswers:
    """All that the report shows.

    Attributes
    ----------
    power
        What the world can tell.
    ceiling
        None where the world has no next word.
    models
        Of each model, by its name.
    """

    power: WorldPower
    ceiling: CeilingAnswers | None
    models: Mapping[str, ModelAnswers]

    @property
    def states(self) -> dict[str, StateAnalyses]:
        """The analyses of each model's states."""
        return {name: one.states for name, one in self.models.items()}


def ask_power(
    study: WorldStudy,
    texts: WorldTexts,
    readers: Mapping[str, ReaderFamily],
    progress: Progress,
) -> WorldPower:
    """Ask what the world can tell; its controls are readers of what tokens say in the world."""
    varying_log_odds(texts.posterior, f"world {study.world}")
    with threadpool_limits(1, user_api="blas"):
        return world_power(
            texts.log_p,
            readers=readers,
            rules=[name for name in readers if is_rule(name)],
            additive=readers[f"{TOKEN_EVIDENCE}: sum"][""],
            signal=study.signal,
            n_replicates=study.n_planted,
            clusters=texts.clusters,
            seed=study.seed,
            level=study.level,
            progress=progress,
        )


def ask_ceiling(texts: WorldTexts, design: Design) -> CeilingAnswers | None:
    """Ask of Bayes's log-predictive ratios what is asked of a model's states."""
    if texts.log_next is None:
        return None
    odds = varying_log_odds(texts.posterior)
    states = ceiling_states(texts.log_next)
    if states.shape[1] == 0:
        return None
    names, Z = tuple(odds.columns), odds.to_numpy(np.float64)
    with threadpool_limits(1, user_api="blas"):
        F = decompose_states(
            states, clusters=design.clusters, n_folds=design.n_folds, seed=design.seed
        )
        options: dict[str, Any] = {"layer": CEILING, "level": design.level}
        of_odds = {"names": names, "target": LOG_ODDS, **options}
        found = CeilingAnswers(
            states,
            goodness_of_fit(F, Z, seed=design.seed, **of_odds),
            posterior_form(F, texts.log_p, target=POSTERIOR, seed=design.seed, **options),
        )
        if states.shape[1] < Z.shape[1]:
            return found
        return replace(
            found,
            correlations=canonical_correlations(F, Z, **of_odds),
            equivalence=equivalence(F, Z, seed=design.seed, **of_odds),
        )


def ceiling_states(log_next: Array) -> Array:
    """Return the leading components (n, ≤ 256) of log p(y | x) − log p(y_0 | x), in nats.

    Parameters
    ----------
    log_next
        (n, V) Bayes's log-predictive. Words that are impossible somewhere have no ratio there and
        are left out.
    """
    possible = log_next[:, np.isfinite(log_next).all(axis=0)]
    if possible.shape[1] < 2:
        return np.empty((len(log_next), 0))
    kept = np.unique(
        np.linspace(0, possible.shape[1] - 1, min(MOST_WORDS, possible.shape[1])).astype(int)
    )
    ratios = possible[:, kept[1:]] - possible[:, kept[:1]]
    centred = ratios - ratios.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    strong = np.flatnonzero(values > LEAST_SHARE * values[-1])[::-1][:WIDEST]
    return np.asarray(centred @ axes[:, strong])
