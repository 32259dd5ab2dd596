"""Few clusters: what would the statistic have been, had whole clusters' residuals changed sign?

The wild cluster bootstrap imposes the null: residuals of the restricted fit are multiplied by one
random number a cluster, the same for all outputs so that their dependence is kept, and added to the
restricted fit; the statistic of the sample is compared with those of the samples so made (Cameron,
Gelbach and Miller 2008, https://doi.org/10.1162/rest.90.3.414). Multipliers are ±1 (Rademacher), or
Webb's six points (2023, https://doi.org/10.1111/caje.12661) with fewer than 12 clusters, where
there are under 2,048 different |t| otherwise. Intervals hold the values that the test does not
reject. They are valid when clusters are independent, and need neither many clusters nor a right
working model, but fail when one cluster carries a coefficient alone. Measured rejections at 5% with
a regressor that hardly varies within clusters: .067 with 7 equal clusters and .077 with one of them
half of the data, where a clustered t with normal quantiles has .21 and .26; .060 with 15.

Everything is linear in the multipliers, and the sums N_g = Q_gᵀQ_g and A_g = Q_gᵀE_g over the rows
of each cluster (see `sandwich`) suffice. For coefficient r'Qᵀy with r its row of R⁻¹, and
δ = estimate − null value, restricted residuals are E + Q ρ δ with ρ = r/r'r, so that numerator and
variance of every t are polynomials in δ whose coefficients are found once by matrix products.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.results.hypotheses import HypothesisTest, bootstrap_test, invalid
from concept_ppl.errors import InputError

from .coefficient_inference import NO_SLOPE, NO_SLOPE_OF, Inference
from .sandwich import NUMBERS_AT_ONCE, LeastSquares

Multipliers = Literal["rademacher", "webb"]

N_DRAWS = 9_999
FEWEST_CLUSTERS = 6
FEWEST_FOR_SIGNS = 12

TIE = 1e-10
"""Relative difference below which two statistics are the same: all signs equal give the sample."""

DOUBLINGS = 6
BISECTIONS = 20
"""Halvings of a bracket that is at most 2⁷ standard errors wide."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSums:
    """What the bootstrap needs of the data.

    Attributes
    ----------
    N
        (G, k, k) cross-products of the basis.
    A
        (G, k, d) scores of the unrestricted residuals.
    """

    N: FloatArray
    A: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class NullStatistics:
    """Bootstrapped t statistics of one coefficient for b outputs, as functions of δ.

    The numerator of draw m is shift₀ + shift₁ δ, its variance square₀ + 2 square₁ δ + square₂ δ².

    Attributes
    ----------
    shift_0, square_0, square_1
        (B, b).
    shift_1, square_2
        (B, 1).
    """

    shift_0: FloatArray
    shift_1: FloatArray
    square_0: FloatArray
    square_1: FloatArray
    square_2: FloatArray

    def p_values(self, delta: FloatArray, std_errors: FloatArray) -> FloatArray:
        """Two-sided p-values (b,) of the null values at distance ``delta`` (b,)."""
        numerators = np.square(self.shift_0 + self.shift_1 * delta)
        variances = self.square_0 + 2.0 * self.square_1 * delta + self.square_2 * delta**2
        observed = np.square(delta / std_errors) * (1.0 - TIE)
        extreme = np.count_nonzero(numerators >= observed * variances, axis=0)
        return np.asarray((1.0 + extreme) / (1.0 + len(numerators)))


def wild_inference(
    fit: LeastSquares,
    members: Sequence[IntArray],
    *,
    n_draws: int,
    multipliers: Multipliers | None,
    seed: int,
    level: float,
) -> Inference:
    """Bootstrap p-values, intervals and joint tests; standard errors are CR0's.

    A coefficient's test is of its t; an interval ends at ±∞ where no value on that side is
    rejected, as with very few clusters. Tests of all slopes are of score statistics (Kline and
    Santos 2012, https://doi.org/10.1515/2156-6674.1006), of which that of all outputs takes the
    largest.

    Parameters
    ----------
    fit, members
        The regressions, the intercept the first regressor, and the rows of each cluster.
    n_draws, multipliers, seed
        How many draws, of what kind (by the number of clusters if None), from which seed.
    level
        Confidence level.

    Raises
    ------
    InputError
        If there are fewer draws than the level needs.
    """
    if n_draws < 2.0 / (1.0 - level):
        raise InputError(f"n_draws is {n_draws}; a level of {level} needs more.")
    if len(members) < FEWEST_CLUSTERS:
        warnings.warn(
            f"{len(members)} clusters are few even for the wild bootstrap: its p-values are coarse "
            "and its intervals may be unbounded.",
            stacklevel=3,
        )
    kind = multipliers or ("webb" if len(members) < FEWEST_FOR_SIGNS else "rademacher")
    V = draw_multipliers(len(members), n_draws, kind, np.random.default_rng(seed))
    sums = ClusterSums(
        np.array([fit.Q[rows].T @ fit.Q[rows] for rows in members]),
        np.array([fit.Q[rows].T @ fit.residuals[rows] for rows in members]),
    )
    size = (1.0 - level) * (1.0 + TIE)  # p-values are fractions, and may equal it
    k, d = fit.coefficients.shape
    std_errors, low, high, p_values = (np.empty((k, d)) for _ in range(4))
    width = max(1, NUMBERS_AT_ONCE // (n_draws * k))
    for start in range(0, d, width):
        at = slice(start, min(start + width, d))
        drawn = V @ sums.A[:, :, at].transpose(1, 0, 2)
        for a, r in enumerate(fit.unscaled):
            std_errors[a, at] = np.sqrt(np.square(np.tensordot(r, sums.A[:, :, at], (0, 1))).sum(0))
            null = null_statistics(ClusterSums(sums.N, sums.A[:, :, at]), r, V, drawn)
            errors, centre = std_errors[a, at], fit.coefficients[a, at]
            p_values[a, at] = null.p_values(centre, errors)
            low[a, at] = centre - farthest(null, errors, size, +1.0)
            high[a, at] = centre + farthest(null, errors, size, -1.0)
    per_output, joint = score_tests(fit, sums, V)
    return Inference(std_errors, low, high, p_values, np.full(k, np.nan), per_output, joint)


def draw_multipliers(
    n_clusters: int, n_draws: int, kind: Multipliers, generator: np.random.Generator
) -> FloatArray:
    """Random multipliers (n_draws, n_clusters) with mean 0 and variance 1."""
    points = np.array([1.0]) if kind == "rademacher" else np.sqrt([0.5, 1.0, 1.5])
    signed = np.concatenate([-points, points])
    return np.asarray(signed[generator.integers(len(signed), size=(n_draws, n_clusters))])


def null_statistics(
    sums: ClusterSums, r: FloatArray, V: FloatArray, drawn: FloatArray
) -> NullStatistics:
    """Bootstrap the t statistics of one coefficient.

    Parameters
    ----------
    sums
        Of the b outputs at hand.
    r
        (k,) its row of R⁻¹.
    V, drawn
        (B, G) multipliers, and (k, B, b) what they make of the scores, Σ_g v_g A_g.
    """
    along = sums.N @ r
    own_0 = np.tensordot(r, sums.A, (0, 1))
    own_1 = (along @ r)[:, None] / (r @ r)
    shift_0, shift_1 = V @ own_0, V @ own_1
    drawn_1 = V @ (along / (r @ r))
    square_0, square_1 = np.zeros_like(shift_0), np.zeros_like(shift_0)
    square_2 = np.zeros_like(shift_1)
    k, n_draws, b = drawn.shape
    step = max(1, NUMBERS_AT_ONCE // (n_draws * b))
    for start in range(0, len(along), step):
        batch = slice(start, start + step)
        v, c = V.T[batch, :, None], along[batch]
        score_0 = v * own_0[batch, None, :]
        score_0 -= (c @ drawn.reshape(k, n_draws * b)).reshape(score_0.shape)
        score_1 = v * own_1[batch, None, :] - (c @ drawn_1.T)[:, :, None]
        square_0 += np.einsum("gmb,gmb->mb", score_0, score_0)
        square_1 += np.einsum("gmb,gm->mb", score_0, score_1[:, :, 0])
        square_2 += np.square(score_1).sum(axis=0)
    return NullStatistics(shift_0, shift_1, square_0, square_1, square_2)


def farthest(null: NullStatistics, std_errors: FloatArray, alpha: float, side: float) -> FloatArray:
    """Largest distance (b,) from the estimate, on one side, that the test does not reject.

    Parameters
    ----------
    null, std_errors
        Of the b outputs.
    alpha
        Size of the test.
    side
        +1 for null values below the estimate, −1 above.
    """
    inside, outside = np.zeros_like(std_errors), 2.0 * std_errors
    for _ in range(DOUBLINGS):
        kept = null.p_values(side * outside, std_errors) > alpha
        inside, outside = np.where(kept, outside, inside), np.where(kept, 2.0 * outside, outside)
    unbounded = null.p_values(side * outside, std_errors) > alpha
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2.0
        kept = null.p_values(side * middle, std_errors) > alpha
        inside, outside = np.where(kept, middle, inside), np.where(kept, outside, middle)
    return np.where(unbounded, np.inf, outside)


def score_tests(
    fit: LeastSquares, sums: ClusterSums, V: FloatArray
) -> tuple[tuple[HypothesisTest, ...], HypothesisTest]:
    """Test all slopes of each output, and of all outputs by the largest of these statistics."""
    n_clusters, k, d = sums.A.shape
    nulls = [NO_SLOPE_OF.format(f"output {j + 1}") for j in range(d)]
    q = k - 1
    if n_clusters <= q:
        because = f"{n_clusters} clusters leave the covariance of {q} slopes singular"
        return tuple(invalid(null, because) for null in nulls), invalid(NO_SLOPE, because)
    scores = sums.A[:, 1:] + sums.N[:, 1:, 1:] @ fit.scores[1:]
    observed, extreme = np.empty(d), np.zeros(d)
    largest = np.zeros(len(V))
    for j in range(d):
        # Whitened by thin SVD: the statistic is the squared length of Uᵀv, that of the sample Uᵀ1.
        U, _, _ = np.linalg.svd(scores[:, :, j], full_matrices=False)
        observed[j] = np.square(U.sum(axis=0)).sum()
        drawn = np.square(V @ U).sum(axis=1)
        extreme[j] = np.count_nonzero(drawn >= observed[j] * (1.0 - TIE))
        largest = np.maximum(largest, drawn)
    p_values = (1.0 + extreme) / (1.0 + len(V))
    top = float(observed.max())
    joint = (1.0 + np.count_nonzero(largest >= top * (1.0 - TIE))) / (1.0 + len(V))
    return (
        tuple(
            bootstrap_test(null, value, p_value, q)
            for null, value, p_value in zip(nulls, observed, p_values, strict=True)
        ),
        bootstrap_test(NO_SLOPE, top, joint, q * d),
    )
