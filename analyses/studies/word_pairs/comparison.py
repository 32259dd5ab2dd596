"""How do two language models differ on the same word pairs, and how far are their states alike?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concept_ppl.analyses.agreement.model_agreement import CrossModel
from concept_ppl.analyses.pairs.differences import DiagonalDifference, diagonal_difference
from concept_ppl.analyses.studies.stages.side_by_side import state_agreement
from concept_ppl.contexts.counterfactual_pairs import PairLists

from .answers import PairAnswers, Settings, design_of
from .plan import HEADLINE_SITE
from .states import ModelWords


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
    return ModelComparison(
        diagonal_difference(
            answers[first.name].headline,
            answers[second.name].headline,
            first=first.name,
            second=second.name,
            layer=HEADLINE_SITE,
        ),
        state_agreement(
            [model.trained[HEADLINE_SITE] for model in models],
            names=(first.name, second.name),
            clusters=unit,
            layer=HEADLINE_SITE,
            seed=settings.seed,
            level=settings.level,
        ),
    )
