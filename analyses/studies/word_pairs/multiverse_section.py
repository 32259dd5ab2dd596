"""What a counterfactual report says of the choices that were not made."""

import pandas as pd

from concept_ppl.analyses.pairs.weights import ESTIMATORS
from concept_ppl.analyses.studies.stages.claim_sections import columns_of
from concept_ppl.reports import Section, Table, choice_panels

from .answers import PairAnswers
from .plan import CONTROLS, HEADLINE, HEADLINE_SITE, MODEL


def multiverse_section(own: PairAnswers) -> Section:
    """Return the verdict under every other choice of estimator, layer and control."""
    found = own.multiverse
    above, below, neither = found.counts()
    rows = found.tidy()
    figure = choice_panels(
        rows,
        rows=("term", ESTIMATORS),
        columns=("control", CONTROLS),
        marked=(HEADLINE, own.best_control, HEADLINE_SITE),
        name="multiverse",
        caption="Mean cosine with new pairs, model minus control. Rows: how weights are fitted; "
        "columns: what is taken away; along each panel the layers (of logistic weights one). "
        "Filled dots: interval above zero; squares: below; hollow: holds zero. Ringed: the choice "
        "that was made beforehand.",
        description=f"Of {len(found.forks)} differences {above} lie above zero, {below} below it, "
        f"and {neither} cannot be told from it.",
    )
    best = found.at_headline()
    frame = pd.DataFrame(
        [
            {
                "weights": estimator,
                "best control": fork.control,
                "model": own.matrices[MODEL, estimator].mean_diagonal.estimate,
                "control": own.matrices[fork.control, estimator].mean_diagonal.estimate,
                **columns_of(fork.difference),
                "ci_level": fork.difference.ci_level,
            }
            for estimator, fork in best.items()
        ]
    )
    table = Table(
        f"At {HEADLINE_SITE}, each estimator beside its own best control",
        frame,
        headings={"estimate": "model − control"},
        note=f"{HEADLINE.capitalize()} weights were named beforehand. Cosines of different "
        "estimators live in different metrics: compare signs, not sizes.",
    )
    return Section(
        "Had it been measured otherwise",
        f"{len(found.forks)} combinations of estimator, layer and control could have carried the "
        f"verdict: {above} say more than the control, {below} less, {neither} neither. The "
        f"intervals are not adjusted for looking at all of them; they show how far the verdict "
        f"hangs on the choice, not what the best choice would have been.",
        [figure],
        [table],
    )
