"""What the validity grid asks every method about one sample of known truth: a count of what held.

Intervals that cover, tests that reject a true null, of samples of :mod:`validity_worlds`.
"""

import math
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits
from validity_truths import fold_maps, true_r2, true_squared_correlations
from validity_verdicts import Planted, is_right, plant
from validity_worlds import Array, Cell, D, Q, Sample, draw

from concept_ppl.analyses import (
    Estimate,
    canonical_correlations,
    canonical_tests,
    compare_controls,
    decompose_states,
    equivalence,
    goodness_of_fit,
    invertibility,
    linear_map,
    model_difference,
    rank_tests,
)
from concept_ppl.analyses.agreement.canonical import decoded_directions
from concept_ppl.analyses.claim.linearity_tests import added_term_tests, strongest
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.decomposition import DecomposedStates, decompose

Found = dict[str, bool | None]
"""By quantity, whether the interval covers or the test rejects; None where the method declines."""


@dataclass(frozen=True)
class Case:
    """One sample with what several checks need of it."""

    sample: Sample
    seed: int

    @property
    def F(self) -> Array:  # noqa: N802
        return self.sample.F

    @property
    def Z(self) -> Array:  # noqa: N802
        return self.sample.Z

    @cached_property
    def states(self) -> DecomposedStates:
        return decompose_states(self.F, clusters=self.sample.clusters, seed=self.seed)

    @cached_property
    def moments(self) -> tuple[Array, Array, Array]:
        """Cov(F), Cov(Z) and Cov(F, Z)."""
        covariance = self.sample.truth.covariance
        return covariance[:D, :D], covariance[D:, D:], covariance[:D, D:]

    @cached_property
    def backward(self) -> float:
        """R²(Z|F) of the fitted maps in the population."""
        maps = fold_maps(self.F, self.Z, self.states, cross_fit(self.states, self.Z))
        return true_r2(maps, *self.moments)

    @cached_property
    def directions(self) -> Array:
        """Signed ρ² of the fitted directions in the population."""
        fit = cross_fit(self.states, self.Z, whiten=True)
        covariance = self.sample.truth.covariance
        return true_squared_correlations(self.F, self.Z, self.states, fit, covariance)

    @cached_property
    def rank(self) -> int:
        return int(np.linalg.matrix_rank(self.sample.truth.A))


def covers(value: Estimate, truth: float) -> bool:
    return value.ci_low <= truth <= value.ci_high


def ask_linear_map(case: Case) -> Found:
    """One slope, and the test that an output that is noise has no slope."""
    kind = "HC3" if case.sample.clusters is None else "CR2"
    answer = linear_map(case.F, case.Z, clusters=case.sample.clusters, covariance=kind)
    slope, test = answer.estimate(1, 0), answer.per_output[-1]
    is_covered = covers(slope, case.sample.truth.A[0, 0])
    return {
        f"linear_map {kind} slope: covers": None if math.isnan(slope.ci_low) else is_covered,
        f"linear_map {kind} Wald: size": None if test.invalid_because else test.p_value < 0.05,
    }


def ask_goodness(case: Case) -> Found:
    """R² in both directions, against what the fitted maps reach in the population."""
    answer = goodness_of_fit(case.states, case.Z)
    contrasts = decompose(case.Z, case.states.design)
    forward = fold_maps(case.Z, case.F, contrasts, cross_fit(contrasts, case.states.F))
    of_F, of_Z, cross = case.moments
    return {
        "goodness_of_fit backward: covers": covers(answer.backward, case.backward),
        "goodness_of_fit forward: covers": covers(
            answer.forward, true_r2(forward, of_Z, of_F, cross.T)
        ),
    }


def ask_canonical(case: Case) -> Found:
    """Smallest and mean ρ², against those of the fitted directions in the population."""
    answer = canonical_correlations(case.states, case.Z)
    truth = case.directions
    return {
        "canonical_correlations smallest: covers": covers(answer.smallest, truth[-1]),
        "canonical_correlations mean: covers": covers(answer.mean, float(truth.mean())),
    }


def ask_rank(case: Case) -> Found:
    """Is the rank at most the true rank? Asked where that is less than full."""
    rank = case.rank
    found: Found = {}
    for method in ("kleibergen_paap", "robin_smith"):
        answer = rank_tests(case.F, case.Z, clusters=case.sample.clusters, method=method)
        test = answer.tests[rank]
        found[f"rank_tests {method}: size"] = None if test.invalid_because else test.p_value < 0.05
    return found


def ask_invertibility(case: Case) -> Found:
    """Is the rank at most the true rank? Asked of decoded contrasts, fold by fold."""
    test = invertibility(case.states, case.Z, variant="decoded").tests[case.rank]
    is_valid = not test.invalid_because
    return {"invertibility decoded rank: size": test.p_value < 0.05 if is_valid else None}


def ask_canonical_tests(case: Case) -> Found:
    """The textbook tests that the remaining correlations are zero."""
    answer = canonical_tests(case.F, case.Z, clusters=case.sample.clusters)
    found: Found = {}
    for name, tests in (("Rao F", answer.rao), ("Bartlett", answer.bartlett)):
        test = tests[case.rank]
        found[f"canonical_tests {name}: size"] = (
            None if test.invalid_because else test.p_value < 0.05
        )
    return found


def ask_equivalence(case: Case) -> Found:
    """The margin is the smallest ρ² of the population, so that the claim is false."""
    of_F, of_Z, cross = case.moments
    margin = float(linalg.eigvalsh(cross.T @ np.linalg.solve(of_F, cross), of_Z)[0])
    answer = equivalence(case.states, case.Z, margin=margin)
    return {"equivalence at the margin: size": answer.shown}


def ask_linearity(case: Case) -> Found:
    """Added terms, where the map is affine."""
    tests = added_term_tests(decoded_directions(case.states, case.Z), case.Z, case.states.design)
    test = strongest(tests)
    return {"linearity added terms: size": None if test.invalid_because else test.p_value < 0.05}


def ask_controls(case: Case) -> Found:
    """The difference to a control that holds two coordinates of the states."""
    part = decompose(case.F[:, :2], case.states.design)
    answer = compare_controls(case.states, case.Z, {"part": part})
    of_F, of_Z, cross = case.moments
    maps = fold_maps(case.F[:, :2], case.Z, part, cross_fit(part, case.Z))
    less = true_r2(maps, of_F[:2, :2], of_Z, cross[:2])
    gap = case.backward - less
    return {"compare_controls difference: covers": covers(answer.controls[0].difference, gap)}


def ask_models(case: Case) -> Found:
    """The differences to a second model, which holds as many coordinates as there are contrasts."""
    F = case.F[:, :Q]
    other = decompose(F, case.states.design)
    answer = model_difference(case.states, other, case.Z)
    kept = [*range(Q), *range(D, D + Q)]
    covariance = case.sample.truth.covariance[np.ix_(kept, kept)]
    maps = fold_maps(F, case.Z, other, cross_fit(other, case.Z))
    less = true_r2(maps, covariance[:Q, :Q], covariance[Q:, Q:], covariance[:Q, Q:])
    fit = cross_fit(other, case.Z, whiten=True)
    gaps = case.directions - true_squared_correlations(F, case.Z, other, fit, covariance)
    return {
        "model_difference R²: covers": covers(answer.r2, case.backward - less),
        "model_difference smallest ρ²: covers": covers(answer.smallest, gaps[-1]),
        "model_difference mean ρ²: covers": covers(answer.mean, float(gaps.mean())),
    }


CHECKS: Mapping[str, Callable[[Case], Found]] = {
    "linear_map": ask_linear_map,
    "goodness": ask_goodness,
    "canonical": ask_canonical,
    "rank": ask_rank,
    "invertibility": ask_invertibility,
    "canonical_tests": ask_canonical_tests,
    "equivalence": ask_equivalence,
    "linearity": ask_linearity,
    "controls": ask_controls,
    "models": ask_models,
}


NEED_LOSS = {"rank", "invertibility", "canonical_tests"}
NEED_FULL_RANK = {"equivalence"}
VERDICTS = "verdicts"

Counts = dict[str, dict[str, list[int]]]
"""By check and quantity: how often it held, how often there was an answer, how often asked."""


def applies(check: str, cell: Cell | Planted) -> bool:
    """Whether a check has a question for a cell."""
    if isinstance(cell, Planted) or check == VERDICTS:
        return isinstance(cell, Planted) and check == VERDICTS
    return check not in (NEED_FULL_RANK if cell.lost else NEED_LOSS)


def replicate(cell: Cell | Planted, checks: tuple[str, ...], seeds: range) -> Counts:
    """Ask the checks about the samples of these seeds."""
    counts: Counts = {check: defaultdict(lambda: [0, 0, 0]) for check in checks}
    start = zlib.crc32(str(cell).encode())
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of few clusters: here they are wanted
        for seed in seeds:
            for check, found in _found(cell, checks, start + seed, seed):
                for quantity, holds in found.items():
                    held, answered, asked = counts[check][quantity]
                    is_answer = holds is not None
                    counts[check][quantity] = [held + bool(holds), answered + is_answer, asked + 1]
    return {check: dict(rows) for check, rows in counts.items()}


def _found(
    cell: Cell | Planted, checks: tuple[str, ...], draw_seed: int, seed: int
) -> Iterator[tuple[str, Found]]:
    """What each check finds in one sample."""
    if isinstance(cell, Planted):
        F, Z = plant(cell, draw_seed)
        right = is_right(cell, decompose_states(F, seed=seed), Z, seed)
        yield VERDICTS, {"verdict: right": right}
        return
    case = Case(draw(cell, draw_seed), seed)
    yield from ((check, CHECKS[check](case)) for check in checks)
