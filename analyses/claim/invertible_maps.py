"""Can the contrasts be read back off the states: rank and conditioning of the map, held out.

States too wide for a rank test are reduced to what can be decoded from them: Ẑ = B_kᵀF + c_k, by
ridge maps that were fitted to the folds before k alone (see `prequential`). Given the past B_k is
fixed, and the slopes of Ẑ on Z are Cov(Z)⁻¹ Cov(Z, F) B_k. Their rank is at most that of Cov(Z, F),
whatever B_k is: a reduction can lose rank, never make it. One rank test takes the rows of all later
folds together: under its null the products that it adds up are martingale differences.

How well conditioned the way there and back is, say the singular values of the slopes of Ẑ on Z,
both in units that make Cov(Z) the identity: 1 for a direction that is read back exactly, 0 for one
that is lost. For the best linear maps they are the squared canonical correlations of states and
contrasts, so that they do not depend on the linear map up to which states are known; the singular
values of A itself would. By Weyl's inequality none of them is off by more than ‖Â − A‖₂.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.designs.cross_fits import CrossFit, cross_fit, whitener
from concept_ppl.analyses.designs.decomposition import (
    DecomposedStates,
    States,
    as_decomposed,
    decompose,
)
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.repeats import contrasts_beside
from concept_ppl.analyses.designs.training_influence import training_influence
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.hypotheses import MISSING, HypothesisTest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row

from .diversity import Diversity, diversity_condition
from .prequential import prequential_variates
from .robust_rank import Correlations, Method, correlations, rank_test, sequential_rank

Variant = Literal["decoded", "direct"]

CLUSTERS_PER_SLOPE = 5
"""So many clusters for each slope, and the states themselves enter the rank test."""

N_DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Invertibility(Result):
    """Rank tests of the map, and its singular values there and back.

    Attributes
    ----------
    tests
        Of rank ≤ 0 … q − 1. To reject the last is to show that the map has full column rank.
    estimated_rank
        The first rank that is not rejected at 1 − level, q where all are.
    variant, method
        Whether decoded contrasts or the states themselves were tested, and by which test.
    singular_values
        (q) of the way there and back, descending, with simultaneous Weyl intervals; no tests.
    condition_number
        Largest over smallest singular value; the upper end is infinite where the interval of the
        smallest touches 0.
    contrast_condition
        Condition number of the correlation matrix of Z. The contrasts have full rank: others are
        refused.
    diversity
        Of the unembedding; None where there was none.
    target, layer
        Labels that the caller gave.
    """

    tests: tuple[HypothesisTest, ...]
    estimated_rank: int
    variant: Variant
    method: Method
    singular_values: tuple[Estimate, ...]
    condition_number: Estimate
    contrast_condition: float
    diversity: Diversity | None
    target: str
    layer: str

    @property
    def smallest(self) -> Estimate:
        """The smallest singular value."""
        return self.singular_values[-1]

    @property
    def full_rank(self) -> HypothesisTest:
        """The test of the null that the map loses a direction."""
        return self.tests[-1]

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Invertibility of the map from {self.target}"

    def rows(self) -> Iterator[Row]:
        """One row a singular value, a test, and a condition number."""
        name, target, layer = "invertibility", self.target, self.layer
        for i, value in enumerate(self.singular_values, 1):
            yield Row(name, "singular_value", f"{target}:direction_{i}", value, layer)
        yield Row(name, "singular_value_smallest", target, self.smallest, layer)
        yield Row(name, "condition_number", target, self.condition_number, layer)
        size = self.smallest
        for r, test in enumerate(self.tests):
            yield test.as_row(
                name,
                f"rank_test_{self.variant}",
                f"{target}:rank_at_most_{r}",
                n=size.n,
                n_clusters=size.n_clusters,
                level=size.ci_level,
                layer=layer,
            )
        numbers = {
            "estimated_rank": float(self.estimated_rank),
            "contrast_condition": self.contrast_condition,
        }
        if self.diversity is not None:
            numbers["unembedding_rank"] = float(self.diversity.rank)
            numbers["unembedding_condition"] = self.diversity.condition_number
        for quantity, number in numbers.items():
            yield Row(name, quantity, target, _plain(number, size), layer)

    def panel(self) -> Panel:
        """Forest plot of the singular values."""
        entries = [(f"direction {i}", s) for i, s in enumerate(self.singular_values, 1)]
        return forest(entries, "singular value, there and back")

    @property
    def headline(self) -> str:
        """Say which rank was shown."""
        return (
            f"Rank of the map from {self.target} to states: {self.estimated_rank} of "
            f"{len(self.tests)} shown ({self.method}, {self.variant})"
        )

    def lines(self) -> list[str]:
        """Return the numbers, a line each."""
        return [
            f"  full column rank: {self.full_rank}",
            f"  condition number there and back: {self.condition_number}",
            *(f"  singular value {i}  {s}" for i, s in enumerate(self.singular_values, 1)),
            f"  condition number of the contrasts' correlations: {self.contrast_condition:.4g}",
            *([] if self.diversity is None else [f"  {self.diversity}"]),
        ]


def invertibility(
    F: States,
    Z: npt.ArrayLike,
    *,
    unembedding: npt.ArrayLike | None = None,
    variant: Variant | None = None,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Invertibility:
    """Test that the map from contrasts to states has full column rank, and bound its conditioning.

    The rank tests reject with probability at most 1 − level where rows, or clusters, are
    independent, whatever the misfit. Measured sizes are in docs/reference/validity.md. ``decoded``
    tests the rows of all folds but the first two, which only train. ``direct`` needs no training
    rows, but with d·q near the number of clusters it has no power, and beyond it no test of the
    lower ranks.

    Weyl intervals are conservative, the more so the more contrasts. With a single contrast nominal
    95% intervals cover in .94 to 1.00 of samples of 100 to 400 rows, no relation included. They
    hold for the fitted maps, whose singular values lie below those of the best maps by the cost of
    estimating and shrinking them.

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    Z
        (n, q) contrasts.
    unembedding
        (V, d) token vectors g(y). Where their differences span less than R^d, states are projected
        on that span first: the rest of them never reaches a prediction.
    variant
        ``decoded`` contrasts or the states themselves (``direct``) enter the rank test; by default
        the states where there are five clusters for each of their d·q slopes.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    names
        Of the q contrasts, for messages only.
    target, layer
        Labels for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, drawn from the seed; it also seeds the simulated norms.
    level
        Confidence level; 1 − level is the size of each rank test of the sequence.

    Raises
    ------
    InputError
        If an array is not finite, constant, collinear or of another length, clusters are few, or
        the unembedding has another width than the states.
    """
    check_level(level)
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    contrasts, _ = contrasts_beside(states, Z, names)
    spanned = None if unembedding is None else diversity_condition(unembedding, states.width)
    if spanned is not None and not spanned.holds:
        states = decompose(states.rows.times(spanned.basis), design)
    fit = cross_fit(states, contrasts, whiten=True)
    q = contrasts.shape[1]
    if variant is None:
        wide = CLUSTERS_PER_SLOPE * states.width * q > design.n_clusters
        variant = "decoded" if wide else "direct"
    if variant == "direct":
        method: Method = "kleibergen_paap"
        found = correlations(states.F, contrasts, design.weights, design.clusters)
    else:
        found, method = decoded_correlations(states, contrasts)
    most = min(found.Y.shape[1], states.width)
    tests = tuple(rank_test(found, r, method, most) for r in range(q))
    values, condition = singular_values(fit, level, seed)
    return Invertibility(
        tests,
        sequential_rank(tests, 1.0 - level),
        variant,
        method,
        values,
        condition,
        float(np.linalg.cond(np.atleast_2d(np.corrcoef(contrasts, rowvar=False)))),
        spanned,
        target,
        layer,
    )


def decoded_correlations(states: DecomposedStates, Z: FloatArray) -> tuple[Correlations, Method]:
    """Whitened contrasts as decoded by maps of earlier folds, and as they are, with the test.

    Raises
    ------
    InputError
        If the contrasts are collinear in the first folds or in the later ones.
    """
    design, decoded = states.design, prequential_variates(states, Z)
    rows = decoded.rows
    found = correlations(decoded.variates, Z[rows], design.weights[rows], design.clusters[rows])
    many = found.n_clusters >= CLUSTERS_PER_SLOPE * Z.shape[1] ** 2
    return found, "kleibergen_paap" if many else "robin_smith"


@dataclass(frozen=True, slots=True, eq=False)
class RoundTrip:
    """Slopes of decoded contrasts on contrasts, all folds together, in whitened units.

    Attributes
    ----------
    slopes
        (q, q), a row a contrast.
    test, training
        (n_clusters, q²) influences on the slopes as test rows and through the maps.
    """

    slopes: FloatArray
    test: FloatArray
    training: FloatArray

    def norm_quantile(self, level: float, generator: np.random.Generator) -> float:
        """Quantile of ‖Â − A‖₂, simulated: normal multipliers of the influences, Student's scale.

        Both parts count in full, as of independent errors: see `training_influence`.
        """
        n_clusters, q = len(self.test), len(self.slopes)
        influences = np.vstack([self.test, self.training])
        errors = generator.normal(size=(N_DRAWS, len(influences))) @ influences
        norms = np.linalg.norm(errors.reshape(N_DRAWS, q, q), ord=2, axis=(1, 2))
        scale = np.sqrt(generator.chisquare(n_clusters - 1, size=N_DRAWS) / n_clusters)
        return float(np.quantile(norms / scale, level))


def round_trip(fit: CrossFit) -> RoundTrip:
    """Regress decoded contrasts on contrasts (n, q), both centred in their fold and whitened."""
    Z, design = fit.targets, fit.states.design
    q = Z.shape[1]
    W = whitener(Z, design)
    z, decoded = _centred_in_folds(Z, design) @ W, _centred_in_folds(fit.predicted, design) @ W
    weighted = z * design.weights[:, None]
    projection = np.linalg.solve(z.T @ weighted, weighted.T).T
    slopes = projection.T @ decoded
    own = projection[:, :, None] * (decoded - z @ slopes)[:, None, :]
    pull = training_influence(
        fit, np.repeat(projection, q, axis=1), [np.tile(W, q)] * design.n_folds
    )
    test, training = np.zeros((2, design.n_clusters, q * q))
    np.add.at(test, design.clusters, own.reshape(design.n, q * q))
    np.add.at(training, design.clusters, pull * design.weights[:, None])
    return RoundTrip(slopes, test, training)


def singular_values(
    fit: CrossFit, level: float, seed: int
) -> tuple[tuple[Estimate, ...], Estimate]:
    """Singular values there and back with simultaneous Weyl intervals; their condition number.

    Parameters
    ----------
    fit
        Of checked contrasts (n, q).
    level, seed
        Confidence level; seed of the simulated norms.
    """
    design = fit.states.design
    trip = round_trip(fit)
    reach = trip.norm_quantile(level, np.random.default_rng(seed))
    values = np.linalg.svd(trip.slopes, compute_uv=False)
    low, high = np.maximum(values - reach, 0.0), values + reach

    def estimate(value: float, below: float, above: float) -> Estimate:
        size = design.n, design.n_clusters
        return Estimate(value, MISSING, below, above, level, MISSING, *size)

    numbers = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    condition = estimate(
        _ratio(values[0], values[-1]),
        max(1.0, _ratio(low[0], high[-1])),
        _ratio(high[0], low[-1]),
    )
    return tuple(estimate(*triple) for triple in numbers), condition


def _centred_in_folds(values: FloatArray, design: Design) -> FloatArray:
    centred = np.empty_like(values)
    for k in range(design.n_folds):
        rows = design.folds == k
        centred[rows] = values[rows] - np.average(
            values[rows], axis=0, weights=design.weights[rows]
        )
    return centred


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else math.inf


def _plain(number: float, size: Estimate) -> Estimate:
    """Make an estimate of a number without interval or test."""
    missing = (MISSING,) * 3
    return Estimate(number, *missing, size.ci_level, MISSING, size.n, size.n_clusters)
