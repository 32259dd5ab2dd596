"""Is the map between contrasts and states affine, or does it bend?

Three kinds of evidence, which answer different questions:

- *Added terms*: does E[F | Z] bend? Canonical directions of F, decoded held out, are regressed on
  Z and on bounded second-order terms u_i u_j, u = z/√(1 + |z|²/q) with z the whitened Z. The
  bound keeps fourth moments of Z out of the test: with plain squares and Student-t₃ contrasts it
  rejected true nulls in 13% (homo- and heteroscedastic, n = 1000). Each fold has an intercept and
  slopes of its own, because each has a map of its own: with common ones and 50 clusters the test
  rejected 12%. Each direction has a CR2 Wald test (HC2 where rows are independent), referred to
  Hotelling's T² with the degrees of freedom of its working model (Pustejovsky and Tipton 2018, see
  `satterthwaite`), and directions are combined by Bonferroni; one stacked test of all rejected up
  to 44%, a cluster jackknife 1%. Clusters must outnumber the coefficients.
- *Gains*: by how much? Held-out R² of a nonlinear rival minus that of the affine map (see
  `competitors`), in both directions. Only the forward one supports a claim of *being* affine: the
  backward one is there to be read, but E[Z | F] bends with any noise that is not Gaussian.
- *Diagnostics*: RESET, rainbow and Harvey–Collier as they are in textbooks. They assume equal
  variances, take no part in the verdict, and are here for comparison alone.

A linear reduction of F, fixed given the training folds, keeps an affine E[F | Z] affine, so that
held-out directions carry the null. What it cannot show is a bend in directions of F that are
not linearly related to Z at all. Without any relation folds depend on each other through their
training rows (see `intervals.no_relation_p_value`), and no test is made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.agreement.canonical import decoded_directions
from concept_ppl.analyses.covariance.coefficient_inference import hotelling_test
from concept_ppl.analyses.covariance.sandwich import (
    LeastSquares,
    adjusted_scores,
    cluster_members,
    least_squares,
)
from concept_ppl.analyses.covariance.satterthwaite import hotelling_df
from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, check_level
from concept_ppl.analyses.designs.cross_fits import whitener
from concept_ppl.analyses.designs.decomposition import States, as_decomposed
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.repeats import contrasts_beside
from concept_ppl.analyses.designs.shares import backward_share
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.hypotheses import HypothesisTest, f_test, invalid, t_test
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .competitors import backward_gain, forward_gain, nested_directions

ROWS_PER_COEFFICIENT = 4
"""Fewer rows leave too little beside the coefficients for a jackknife to be trusted."""

BOUND = 1.0
"""Squared length, in units of q, at which an added term has half of its unbounded size."""

CR2 = 0.5
"""Power of (I − H)⁻¹ by which the residuals of a cluster are adjusted."""

UNRELATED = "without an affine relation, directions of different folds depend on each other"

AFFINE_TERMS = "no second-order term of the contrasts moves {}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A textbook test of linearity, and why the verdict does not rest on it."""

    name: str
    test: HypothesisTest
    caveat: str


@dataclass(frozen=True, slots=True)
class Linearity(Result):
    """What speaks for and against an affine map.

    Attributes
    ----------
    added_terms
        No direction of F bends: the least p-value of ``directions`` times their number, with the
        statistic that it belongs to.
    directions
        The test of each canonical direction, strongest first.
    forward_gain, backward_gain
        Held-out R² of the nonlinear rival minus the affine map, of directions of F given Z and of
        Z given F; p-values two-sided, of no difference.
    backward
        Held-out R²(Z|F) of the affine map, all of F; p-value one-sided, of R² ≤ 0.
    margin
        Gain below which a map counts as affine.
    diagnostics
        Of the strongest direction; no part of the verdict.
    target, layer
        Labels that the caller gave.
    """

    added_terms: HypothesisTest
    directions: tuple[HypothesisTest, ...]
    forward_gain: Estimate
    backward_gain: Estimate
    backward: Estimate
    margin: float
    diagnostics: tuple[Diagnostic, ...]
    target: str
    layer: str

    @property
    def is_curved(self) -> bool:
        """Whether added terms or the forward gain speak against it, each at half of 1 − level.

        The backward gain has no say: E[Z | F] bends wherever the noise of F or Z is not Gaussian.
        """
        gain = self.forward_gain
        p_values = [gain.p_value / 2.0 if gain.estimate > 0 else 1.0]
        if self.added_terms.is_valid:
            p_values.append(self.added_terms.p_value)
        return min(p_values) * 2.0 <= 1.0 - self.backward.ci_level

    @property
    def is_affine(self) -> bool:
        """Whether the interval of the forward gain lies below the margin."""
        return self.forward_gain.ci_high < self.margin

    @property
    def verdict(self) -> str:
        """One of: no relation, affine, affine within the margin, curved, undecided."""
        if not self.is_curved and not self.backward.p_value <= 1.0 - self.backward.ci_level:
            return "no relation: the states tell nothing about the contrasts"
        if self.is_affine:
            bend = "detectable but small bend" if self.is_curved else "no bend detected"
            return f"affine: a nonlinear map gains less than {self.margin:g} in R² ({bend})"
        if self.is_curved:
            return "curved: a nonlinear map or second-order terms do better"
        return f"undecided: a gain of {self.margin:g} in R² cannot be ruled out"

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Linearity of the map to {self.target}"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"Is the map between states and {self.target} affine? {self.verdict}"

    def rows(self) -> Iterator[Row]:
        """One row an R², a gain, a test and a diagnostic."""
        name = "linearity"
        yield Row(name, "r2_backward", self.target, self.backward, self.layer)
        yield Row(name, "r2_gain_forward", self.target, self.forward_gain, self.layer)
        yield Row(name, "r2_gain_backward", self.target, self.backward_gain, self.layer)
        tests = [("added_terms", self.target, self.added_terms)]
        for i, test in enumerate(self.directions, 1):
            tests.append(("added_terms", f"{self.target}:direction_{i}", test))
        tests += [(f"diagnostic_{part.name}", self.target, part.test) for part in self.diagnostics]
        for quantity, term, test in tests:
            yield test.as_row(
                name,
                quantity,
                term,
                n=self.backward.n,
                n_clusters=self.backward.n_clusters,
                level=self.backward.ci_level,
                layer=self.layer,
            )

    def lines(self) -> list[str]:
        """Return the verdict, and what it rests on, a line each."""
        return [
            f"  affine R²(Z|F)       {self.backward}",
            f"  gain, F given Z      {self.forward_gain}",
            f"  gain, Z given F      {self.backward_gain}",
            f"  added terms          {self.added_terms}",
            "  not in the verdict:",
            *(f"    {part.name}: {part.test} ({part.caveat})" for part in self.diagnostics),
        ]

    def panel(self) -> Panel:
        """Forest plot of the affine R² and of both gains."""
        entries = [
            ("affine R²(Z|F)", self.backward),
            ("gain, F given Z", self.forward_gain),
            ("gain, Z given F", self.backward_gain),
        ]
        return forest(entries, "held-out R²")


def linearity(
    F: States,
    Z: npt.ArrayLike,
    *,
    margin: float = 0.02,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Linearity:
    """Test whether states and contrasts are related by an affine map, and how far from it they are.

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    Z
        (n, q) contrasts, q ≤ d.
    margin
        Gain in held-out R² of a nonlinear map below which the affine one is good enough, > 0.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    names
        Of the q contrasts, for messages only.
    target, layer
        Labels for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, and the random features of the rival, drawn from the seed.
    level
        Confidence level; tests are made at 1 − level.

    Raises
    ------
    InputError
        If the margin is not positive; and as `canonical_correlations`.
    """
    check_level(level)
    if not margin > 0:
        raise InputError(f"margin is {margin}; a gain that counts as none must be positive.")
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    contrasts, _ = contrasts_beside(states, Z, names)
    if contrasts.shape[1] > states.width:
        raise InputError(
            f"Z has {contrasts.shape[1]} contrasts, F only {states.width} coordinates; no "
            "linear map between them can be invertible."
        )
    directions = decoded_directions(states, contrasts)
    decoded = nested_directions(states, contrasts)
    backward = backward_share(states, contrasts, level)
    tests = added_term_tests(directions, contrasts, design)
    if not backward.p_value <= 1.0 - level:
        tests = tuple(invalid(test.null, UNRELATED) for test in tests)
    return Linearity(
        strongest(tests),
        tests,
        forward_gain(states, contrasts, decoded, seed, level),
        backward_gain(states, contrasts, decoded, seed, level),
        backward,
        margin,
        diagnose(directions[:, 0], contrasts),
        target,
        layer,
    )


def bounded_products(Z: FloatArray, design: Design) -> FloatArray:
    """Squares and pairwise products (n, q(q + 1)/2) of the bounded, whitened contrasts.

    Their span is the same for every invertible affine map of Z.
    """
    z = (Z - np.average(Z, axis=0, weights=design.weights)) @ whitener(Z, design)
    u = z / np.sqrt(1.0 + np.square(z).sum(axis=1) / (BOUND * z.shape[1]))[:, None]
    first, second = np.triu_indices(u.shape[1])
    return np.asarray(u[:, first] * u[:, second])


def added_term_tests(
    directions: FloatArray, Z: FloatArray, design: Design
) -> tuple[HypothesisTest, ...]:
    """Wald test of the bounded products in the regression of each direction (n, r) on Z (n, q).

    Intercept and slopes are each fold's own, as its map is; the products have common coefficients.
    """
    terms = bounded_products(Z, design)
    fold = np.eye(design.n_folds)[design.folds]
    affine = np.column_stack([np.ones(design.n), Z])
    own = (fold[:, :, None] * affine[:, None, :]).reshape(design.n, -1)
    X = np.column_stack([own, terms])
    (n, k), m = X.shape, terms.shape[1]
    nulls = [AFFINE_TERMS.format(f"direction {i + 1}") for i in range(directions.shape[1])]
    if n < ROWS_PER_COEFFICIENT * k:
        because = f"{n} rows are fewer than {ROWS_PER_COEFFICIENT} for each of {k} coefficients"
        return tuple(invalid(null, because) for null in nulls)
    if design.n_clusters <= k:
        because = f"{design.n_clusters} clusters are too few for {k} coefficients"
        return tuple(invalid(null, because) for null in nulls)
    fit = least_squares(X, directions, design.weights, [str(i) for i in range(k)])
    members = cluster_members(design.clusters)
    try:
        wald = _last_wald(fit, members, m)
        eta = hotelling_df(fit, members, (1,), k - m)[0]
    except InputError:
        because = "some cluster (or row) alone determines the slopes of a fold"
        return tuple(invalid(null, because) for null in nulls)
    return tuple(
        hotelling_test(null, value, m, eta) for null, value in zip(nulls, wald, strict=True)
    )


def strongest(tests: Sequence[HypothesisTest]) -> HypothesisTest:
    """Combine the tests of all directions by Bonferroni: the least p-value times their number."""
    null = AFFINE_TERMS.format("any direction")
    for test in tests:
        if not test.is_valid:
            return invalid(null, test.invalid_because)
    least = min(tests, key=lambda test: test.p_value)
    p_value = min(1.0, least.p_value * len(tests))
    return HypothesisTest(
        null, least.statistic, least.distribution, least.df_num, least.df_denom, p_value
    )


def _last_wald(fit: LeastSquares, members: Sequence[IntArray], m: int) -> FloatArray:
    """CR2 Wald statistics (r,) of the last m regressors.

    In the orthonormal basis the last m scores are zero exactly when the last m coefficients are.
    """
    outputs = fit.coefficients.shape[1]
    parts = adjusted_scores(fit, members, CR2, slice(0, outputs))
    meat = sum(np.einsum("gaj,gbj->jab", s[:, -m:], s[:, -m:]) for s in parts)
    scores = fit.scores[-m:].T[:, :, None]
    return np.asarray((scores * np.linalg.solve(meat, scores)).sum(axis=(1, 2)))


def diagnose(direction: FloatArray, Z: FloatArray) -> tuple[Diagnostic, ...]:
    """Textbook tests of linearity in the regression of one direction (n,) on Z (n, q)."""
    import statsmodels.api as sm
    from scipy import stats
    from statsmodels.stats.diagnostic import linear_rainbow, linear_reset, recursive_olsresiduals

    null = "direction 1 is affine in the contrasts, with independent errors of equal variance"
    if len(Z) < 4 * (Z.shape[1] + 2):
        few = invalid(null, f"{len(Z)} rows are too few for {Z.shape[1] + 1} coefficients")
        return tuple(Diagnostic(name, few, caveat) for name, caveat in CAVEATS.items())
    fit = sm.OLS(direction, sm.add_constant(Z)).fit()
    reset = linear_reset(fit, power=2, use_f=True)
    rainbow, _ = linear_rainbow(fit)
    n, k = len(Z), Z.shape[1] + 1
    inner = int(np.ceil(0.5 * n))
    # statsmodels' linear_harvey_collier averages over the undefined first residuals too: NaN.
    residuals = recursive_olsresiduals(fit)[3]
    recursive = stats.ttest_1samp(residuals[np.isfinite(residuals)], 0.0)
    tests = (
        f_test(null, float(reset.fvalue), float(reset.df_num), float(reset.df_denom)),
        f_test(null, float(rainbow), n - inner, inner - k),
        t_test(null, float(recursive.statistic), n - k - 1),
    )
    named = zip(CAVEATS.items(), tests, strict=True)
    return tuple(Diagnostic(name, test, caveat) for (name, caveat), test in named)


CAVEATS = {
    "reset": "rejects up to 60% of true nulls under heavy heteroscedasticity",
    "rainbow": "compares variances of inner and outer rows, hence rejects heteroscedasticity",
    "harvey_collier": "sees a bend only along the order of the rows",
}
