"""Cells with invented answers: what a report says of numbers that the test chooses."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from concept_ppl.analyses.studies.families.report import QUANTITIES as OF_FAMILIES
from concept_ppl.analyses.studies.laboratory.measures import CONTROLS
from concept_ppl.analyses.studies.laboratory.over_worlds import cell_frame
from concept_ppl.analyses.studies.laboratory.runs import Extent, LaboratoryStudy
from concept_ppl.analyses.studies.regimes.report import EXACT, TRAINED
from concept_ppl.analyses.studies.theory.report import QUANTITIES as OF_THEORY

QUANTITIES = sorted({*EXACT, *TRAINED, *OF_THEORY, *OF_FAMILIES} - {"accuracy.gap"})
WITH_INTERVAL = (
    *("difference", "increment", "control.best", "control.shuffled", "trained.alpha"),
    *("shuffled.rho2_mean", "held_out.rho2_smallest", "held_out.r2_backward"),
)
Answers = Mapping[str, float]


def invented(
    study: LaboratoryStudy,
    extent: Extent,
    answers: Callable[[Mapping[str, Any]], Answers] = lambda _: {},
) -> pd.DataFrame:
    """The frame of a study whose answers are .9, a little spread, but for those given."""
    rng = np.random.default_rng(0)
    cells = []
    for cell in study.plan(extent):
        found = dict.fromkeys(QUANTITIES, 0.9) | {"kl": 1e-5, "gap.squared": 0.0}
        found |= {f"control.{name}": 0.5 for name in CONTROLS} | {"control.shuffled": 0.0}
        found |= {"trained.rank": 3.0, "bayes.rank": 3.0, "impossible": 0.0}
        found |= {"shuffled.rho2_mean": 0.0, "ceiling.r2_backward": 1.0, "ceiling.r2_forward": 1.0}
        found |= {"agreement.forward": 0.999, "agreement.backward": 0.998, "agreement.kl": 1e-6}
        found |= answers(cell.settings)
        for name in WITH_INTERVAL:
            found |= {f"{name}.low": found[name] - 0.02, f"{name}.high": found[name] + 0.02}
        trained = {"trained.rho2_smallest", "trained.alpha", "difference", "held_out.rho2_smallest"}
        jittered = {k: v + 0.001 * rng.normal() if k in trained else v for k, v in found.items()}
        if cell.settings["training"] is None:
            jittered = {k: v for k, v in jittered.items() if not k.startswith("trained")}
        cells.append({**cell.settings, **jittered})
    return cell_frame(cells)
