"""The verdict under every choice that could have been made: estimator × layer × control.

One estimator, layer and rule for the control is named before any data and carries the verdict. A
reader may ask what the others say (the multiverse of Steegen et al. 2016,
https://doi.org/10.1177/1745691616658637): here each choice has its paired difference, with the
interval that it would have had.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from concept_ppl.analyses.pairs.counterfactual_matrices import (
    CounterfactualMatrix,
    counterfactual_matrix,
)
from concept_ppl.analyses.pairs.designs import PairDesign
from concept_ppl.analyses.pairs.differences import diagonal_difference
from concept_ppl.analyses.pairs.weights import ESTIMATORS, Estimator
from concept_ppl.analyses.results.rows import Estimate, Row, result_frame

from .plan import (
    CONTROLS,
    HEADLINE,
    HEADLINE_SITE,
    MODEL,
    RANDOM,
    SITES_OF,
)
from .states import ModelWords


@dataclass(frozen=True, slots=True)
class Fork:
    """What one choice of estimator, layer and control would have said.

    Attributes
    ----------
    estimator, site, control
        The choice.
    difference
        Mean cosine with new pairs, model minus control, paired.
    """

    estimator: str
    site: str
    control: str
    difference: Estimate

    @property
    def sign(self) -> int:
        """1 or −1 where the interval lies on one side of zero, otherwise 0."""
        return int(self.difference.ci_low > 0) - int(self.difference.ci_high < 0)


@dataclass(frozen=True, slots=True)
class Multiverse:
    """Every fork, estimator by estimator, along the layers.

    Attributes
    ----------
    forks
        One for each estimator, site and control.
    best_control
        For each estimator, the control with the largest mean cosine.
    """

    forks: tuple[Fork, ...]
    best_control: Mapping[str, str]

    def at_headline(self) -> dict[str, Fork]:
        """Return, by estimator, the fork of the headline site from that estimator's best rival."""
        return {
            fork.estimator: fork
            for fork in self.forks
            if fork.site == HEADLINE_SITE and fork.control == self.best_control[fork.estimator]
        }

    def against_headline(self) -> list[Fork]:
        """Return the estimators whose verdict lies on the other side of zero than the headline's.

        Where the headline's interval holds zero, every estimator that says either side, if they
        do not all say the same one.
        """
        named = self.at_headline()
        others = [fork for name, fork in named.items() if name != HEADLINE and fork.sign]
        sign = named[HEADLINE].sign
        if sign == 0:
            return others if len({fork.sign for fork in others}) == 2 else []
        return [fork for fork in others if fork.sign == -sign]

    def counts(self) -> tuple[int, int, int]:
        """How many forks lie above zero, below it, and on neither side."""
        signs = [fork.sign for fork in self.forks]
        return signs.count(1), signs.count(-1), signs.count(0)

    def tidy(self) -> pd.DataFrame:
        """Return a row a fork: ``term`` is the estimator, ``control`` what was taken away."""
        return result_frame(
            Row("multiverse", "mean_diagonal", f.estimator, f.difference, f.site, f.control)
            for f in self.forks
        )


def ask_multiverse(
    states: ModelWords,
    design: PairDesign,
    known: Mapping[tuple[str, str, str], CounterfactualMatrix],
    seed: int,
    level: float,
    done: Callable[[], None],
) -> Multiverse:
    """Take every difference from every control, under every estimator, along the layers.

    Parameters
    ----------
    states
        Of the words of the design.
    design
        Pairs and splits.
    known
        By control (``""`` is the model), estimator and site: matrices that are not made again,
        among them all of controls that do not change along the layers.
    seed, level
        Of inner folds; of the intervals.
    done
        Called after each matrix that is made.
    """
    sources = {MODEL: states.trained, RANDOM: states.untrained}
    made = dict(known)
    for estimator, site in _choices(states):
        for control, by_site in sources.items():
            if (control, estimator, site) in made:
                continue
            made[control, estimator, site] = counterfactual_matrix(
                by_site[site], design, estimator=estimator, n_flips=0, seed=seed, level=level
            )
            done()

    def fork(estimator: str, site: str, control: str) -> Fork:
        model = made[MODEL, estimator, site]
        rival = made[control, estimator, site if control in sources else SITES_OF[control]]
        return Fork(estimator, site, control, diagonal_difference(model, rival).mean)

    at_headline: dict[tuple[str, str], CounterfactualMatrix] = {
        (name, e): made[name, e, SITES_OF[name]] for e in ESTIMATORS for name in CONTROLS
    }
    return Multiverse(
        tuple(fork(e, site, name) for e, site in _choices(states) for name in CONTROLS),
        {e: best_control(at_headline, e) for e in ESTIMATORS},
    )


def n_matrices(states: ModelWords) -> int:
    """How many matrices `ask_multiverse` makes where headline site and estimator are known."""
    return 2 * sum(e != HEADLINE and s != HEADLINE_SITE for e, s in _choices(states))


def best_control(
    matrices: Mapping[tuple[str, str], CounterfactualMatrix], estimator: str = HEADLINE
) -> str:
    """Return the control with the largest mean cosine: the choice can only hurt the model."""
    return max(CONTROLS, key=lambda name: matrices[name, estimator].mean_diagonal.estimate)


def _choices(states: ModelWords) -> list[tuple[Estimator, str]]:
    """Estimators and sites that can differ from the input embeddings.

    The logistic regression, which takes as long as all others together, is asked at one site.
    """
    return [
        (estimator, site)
        for estimator in ESTIMATORS
        for site in states.sites
        if site != "embedding" and (estimator != "logistic" or site == HEADLINE_SITE)
    ]
