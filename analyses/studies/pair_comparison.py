"""How do two language models differ on the same word pairs, and how far are their states alike?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.model_agreement import CrossModel, cross_model
from concept_ppl.analyses.pair_differences import DiagonalDifference, diagonal_difference
from concept_ppl.counterfactual_pairs import PairLists

from .pair_analyses import HEADLINE_SITE, PairAnswers, Settings, design_of
from .pair_states import ModelWords

MOST_COMPONENTS = 50
"""Principal components of each model that the comparison is made in."""
N_DIRECTIONS = 10


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Two models on the same pairs.

    Attributes
    ----------
    difference
        Diagonal of the first model minus that of the second, at the headline site.
    agreement
        How far one model's word states are an affine image of the other's.
    """

    difference: DiagonalDifference
    agreement: CrossModel

    def tidy(self) -> pd.DataFrame:
        """Both, tidy."""
        return pd.concat([self.difference.tidy(), self.agreement.tidy()], ignore_index=True)


def compare_models(
    models: Sequence[ModelWords],
    answers: Mapping[str, PairAnswers],
    pairs: PairLists,
    settings: Settings,
) -> ModelComparison:
    """Compare two models on the same pairs and splits, and their states of the same words."""
    first, second = models
    design = design_of(pairs, settings)
    unit = np.zeros(len(pairs.words), dtype=np.int64)
    unit[design.first] = design.component
    unit[design.second] = design.component
    scores = [_leading(model.trained[HEADLINE_SITE]) for model in models]
    return ModelComparison(
        diagonal_difference(
            answers[first.name].headline,
            answers[second.name].headline,
            first=first.name,
            second=second.name,
            layer=HEADLINE_SITE,
        ),
        cross_model(
            *scores,
            n_directions=min(N_DIRECTIONS, *(score.shape[1] for score in scores)),
            clusters=unit,
            names=(first.name, second.name),
            layer=HEADLINE_SITE,
            seed=settings.seed,
            level=settings.level,
        ),
    )


def _leading(states: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores of the leading principal components: what a comparison of all words rests on."""
    centred = states.astype(np.float64) - states.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ axes[: min(MOST_COMPONENTS, len(states) // 4 or 1)].T)
