"""States that are planted in a world, to count how often the analyses say of them what is true.

A planted state is a known affine function of the posterior beside noise: of its logarithm, of the
posterior itself, or of the additive sum of what tokens tell. The contexts are those of the study
and stay as they are; noise and map are drawn anew each time. So a rate is the power of the study
that is about to be made, given its contexts, not that of contexts in general.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.agreement.contenders import Contender, best_of
from concept_ppl.analyses.claim.equivalence_claims import lower_bound
from concept_ppl.analyses.claim.form_checks import ENDS
from concept_ppl.analyses.claim.form_fits import (
    FormFit,
    difference_of_forms,
    form_fit,
    holds,
    log_minus_plain,
)
from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.decomposition import decompose
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.analyses.designs.shares import explained_share, least_share, share_difference

N_REPLICATES = 60
POWERS = np.arange(-0.5, 1.76, 0.25)
"""A coarser grid than the study's: splines find the best power between its points."""
REFITS = 200


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was said of one planted state.

    Attributes
    ----------
    log_side, plain_side
        Whether the interval of logarithm minus posterior lies above 0, or below.
    alpha_log, alpha_plain
        Whether the verdict on α is the log-posterior, or the posterior.
    beyond_controls
        Whether logarithm minus posterior exceeds that of the best control, by an interval above 0.
    learned
        Whether R² exceeds that of the best control, by an interval above 0.
    claimed
        Whether R² and the worst direction's both lie above the margin of the claim.
    share
        Held-out R² of the log-odds.
    """

    log_side: bool
    plain_side: bool
    alpha_log: bool
    alpha_plain: bool
    beyond_controls: bool
    learned: bool
    claimed: bool
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What every planted state of a world is held against, computed once.

    Attributes
    ----------
    log_odds
        (n, q) contrasts of the log-posterior.
    concepts
        Log-probabilities (n, K) of each concept.
    design
        Clusters and folds.
    best
        The best control of each fold, of `log_odds`.
    control_form
        The form of the additive sum, or None where there is none.
    margin, level
        Of the claim; of the intervals.
    """

    log_odds: FloatArray
    concepts: Sequence[FloatArray]
    design: Design
    best: Contender | None
    control_form: FormFit | None
    margin: float
    level: float

    def judge(self, states: FloatArray, seed: int) -> Verdicts:
        """Ask of planted states (n, d) what a study asks of a model's."""
        level = self.level
        decomposed = decompose(states, self.design)
        errors = squared_errors(cross_fit(decomposed, self.log_odds))
        form = form_fit(decomposed, self.concepts, POWERS, REFITS, seed, level)
        gap = log_minus_plain(*form.ends, level)
        beyond = gap
        if self.control_form is not None:
            beyond = difference_of_forms(form.ends, self.control_form.ends, level)
        share = explained_share(errors, level)
        parts = (least_share(decomposed, self.log_odds, level), share)
        log, plain = (holds(form.alpha, end) for end in ENDS)
        return Verdicts(
            gap.ci_low > 0,
            gap.ci_high < 0,
            log and not plain,
            plain and not log,
            beyond.ci_low > 0,
            self.best is None
            or share_difference(errors, self.best.errors(errors), level).ci_low > 0,
            max(lower_bound(part, self.margin).p_value for part in parts) <= 1.0 - level,
            share.estimate,
        )


def bench(
    log_odds: FloatArray,
    concepts: Sequence[FloatArray],
    design: Design,
    rivals: Sequence[Contender],
    additive: FloatArray | None,
    margin: float,
    level: float,
) -> Bench:
    """Choose the best control once; the form that stands beside a state's is the additive sum's."""
    form = None
    if additive is not None:
        form = form_fit(decompose(additive, design), concepts, POWERS, REFITS, 0, level)
    best = best_of(rivals, design) if rivals else None
    return Bench(log_odds, concepts, design, best, form, margin, level)


def planted(
    regressors: FloatArray, signal: float, width: int, generator: np.random.Generator
) -> FloatArray:
    """Return states (n, width) from which a linear map reads ``signal`` of each regressor.

    An affine image of the regressors (n, q), by a random map of full rank, beside Gaussian noise of
    the same size in every direction: in the population R² is ``signal`` in every direction of the
    regressors; held out it is a little less, because maps are estimated.
    """
    centred = regressors - regressors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    whitened = left[:, values > 1e-8 * values[0]] * math.sqrt(len(regressors))
    turn = np.linalg.qr(generator.normal(size=(width, whitened.shape[1])))[0].T
    noise = math.sqrt((1.0 - signal) / signal) * generator.normal(size=(len(regressors), width))
    return np.asarray(whitened @ turn + noise)


def judge_planted(
    one: Bench,
    regressors: FloatArray,
    *,
    signal: float,
    width: int,
    n_replicates: int,
    seed: int,
    progress: Callable[[], None] | None = None,
) -> list[Verdicts]:
    """Plant states that are affine in the regressors, again and again, and judge each."""
    found = []
    for replicate in range(n_replicates):
        generator = np.random.default_rng([seed, replicate])
        found.append(one.judge(planted(regressors, signal, width, generator), replicate))
        if progress is not None:
            progress()
    return found
