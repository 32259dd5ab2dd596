"""How many canonical correlations differ from zero, in sample, if errors are normal: Wilks' Λ.

With r₁ ≥ r₂ ≥ … the sample correlations of two sides of widths d and q, Λ_k = ∏_{i>k} (1 − r_i²)
tests that all correlations from k + 1 on are zero. Rao (1951, Bull. Int. Statist. Inst. 33,
177–180) refers it to F, exactly where the smaller width is 1 or 2 and k = 0; Bartlett (1938,
https://doi.org/10.1017/S0305004100019290) refers −(n − (d + q + 3)/2) log Λ_k to χ².
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import check_contrasts, check_level, check_states
from concept_ppl.analyses.designs.design import cluster_codes
from concept_ppl.analyses.results.figures import Panel, p_value_path
from concept_ppl.analyses.results.hypotheses import HypothesisTest, chi2_test, f_test, invalid
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Row

from .robust_rank import orthonormal_basis

ROWS_PER_COLUMN = 3
"""With fewer rows for each column of both sides there is no test: Bartlett's χ² rejects true nulls
in most samples, and any dependence of the errors on the contrasts does the same to Rao's F."""


@dataclass(frozen=True, slots=True)
class CanonicalTests(Result):
    """Sequential tests that the canonical correlations from k + 1 on are zero.

    Attributes
    ----------
    correlations
        Sample canonical correlations, descending. They are biased upwards: see
        `canonical_correlations` for held-out ones.
    wilks
        Λ_k for k = 0, 1, …
    rao, bartlett
        For each k, the test by F and by χ².
    n, n_clusters, ci_level, target, layer
        Size of the sample, and as asked for.
    """

    correlations: tuple[float, ...]
    wilks: tuple[float, ...]
    rao: tuple[HypothesisTest, ...]
    bartlett: tuple[HypothesisTest, ...]
    n: int
    n_clusters: int
    ci_level: float
    target: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Wilks tests of canonical correlations of states and {self.target}"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"In-sample canonical correlations of states and {self.target}, {self.n} rows"

    def rows(self) -> Iterator[Row]:
        """One row a null and distribution, `target:zero_from_k`; estimates are statistics."""
        for quantity, tests in (("wilks_rao_f", self.rao), ("wilks_bartlett_chi2", self.bartlett)):
            for k, test in enumerate(tests, 1):
                yield test.as_row(
                    "canonical_tests",
                    quantity,
                    f"{self.target}:zero_from_{k}",
                    n=self.n,
                    n_clusters=self.n_clusters,
                    level=self.ci_level,
                    layer=self.layer,
                )

    def lines(self) -> list[str]:
        """List correlation, Λ and Rao's test, a line a null."""
        lines = zip(self.correlations, self.wilks, self.rao, strict=True)
        return [f"  r = {r:.3f}  Λ = {value:.4g}  {test}" for r, value, test in lines]

    def panel(self) -> Panel:
        """p-value of each null by Rao's F."""
        return p_value_path(self.rao, 1.0 - self.ci_level, "correlations that are not zero")


def canonical_tests(
    F: npt.ArrayLike,
    Z: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    target: str = "log_odds",
    layer: str = "",
    level: float = 0.95,
) -> CanonicalTests:
    """Test in sample that the canonical correlations from the k-th on are zero, for every k.

    Valid where errors are independent of the contrasts and between rows, and roughly normal.
    Residuals of a misfit are not: prefer `rank_tests` and `invertibility`. Measured size at a
    nominal .05 of the nulls k = 0 … q − 1, smaller k rejected:

    ===================================  ==========  ==========
    errors and widths                    Rao         Bartlett
    ===================================  ==========  ==========
    normal or t₄, n ≥ 3 (d + q)          .02 to .07  .02 to .07
    normal or t₄, n = 40 … 200, d = ¾n   .03 to .06  .18 to .69
    error grows with a contrast, d = 4   .23 to .32  .23 to .32
    error grows with a contrast, d = 60  .90 to 1.0  .90 to 1.0
    ===================================  ==========  ==========

    No test is made where clusters hold several rows, or with fewer than three rows for each
    column of both sides.

    Parameters
    ----------
    F, Z
        (n, d) states, which count with their rank, and (n, q) contrasts.
    clusters
        (n,) labels of independent units. Where one holds several rows, no test is valid.
    target, layer
        Labels for the tidy table.
    level
        1 − level is the line drawn in the plot.

    Raises
    ------
    InputError
        If an array is not finite, constant, collinear or of another length.
    """
    check_level(level)
    states = check_states(F)
    n = len(states)
    contrasts, _ = check_contrasts(Z, n)
    bases = [orthonormal_basis(side, np.ones(n)) for side in (states, contrasts)]
    d, q = bases[0].shape[1], bases[1].shape[1]
    values = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    squares = np.square(np.minimum(values, 1.0))
    n_clusters = int(cluster_codes(clusters, n).max()) + 1
    because = _why_invalid(n, d, q, n_clusters)
    with np.errstate(divide="ignore"):
        log_wilks = np.cumsum(np.log1p(-squares)[::-1])[::-1]
    rao, bartlett = [], []
    for k, value in enumerate(log_wilks):
        null = f"the canonical correlations from number {k + 1} on are zero"
        rao.append(invalid(null, because) if because else rao_test(null, value, n, d, q, k))
        bartlett.append(
            invalid(null, because) if because else bartlett_test(null, value, n, d, q, k)
        )
    return CanonicalTests(
        tuple(np.sqrt(squares).tolist()),
        tuple(np.exp(log_wilks).tolist()),
        tuple(rao),
        tuple(bartlett),
        n,
        n_clusters,
        level,
        target,
        layer,
    )


def rao_test(null: str, log_wilks: float, n: int, d: int, q: int, k: int) -> HypothesisTest:
    """Test by Rao's F that correlations of widths d and q vanish from k + 1 on."""
    a, b = d - k, q - k
    excess = a**2 + b**2 - 5
    root = math.sqrt((a**2 * b**2 - 4) / excess) if excess > 0 else 1.0
    df_denom = _bartlett_factor(n, d, q) * root - a * b / 2 + 1
    odds = math.inf if log_wilks == -math.inf else math.expm1(-log_wilks / root)
    return f_test(null, odds * df_denom / (a * b), a * b, df_denom)


def bartlett_test(null: str, log_wilks: float, n: int, d: int, q: int, k: int) -> HypothesisTest:
    """Test the same by Bartlett's χ²."""
    return chi2_test(null, -_bartlett_factor(n, d, q) * log_wilks, (d - k) * (q - k))


def _bartlett_factor(n: int, d: int, q: int) -> float:
    return n - (d + q + 3) / 2


def _why_invalid(n: int, d: int, q: int, n_clusters: int) -> str:
    """Say why no test is valid, or nothing."""
    if n_clusters < n:
        return f"{n} rows in {n_clusters} clusters are not independent; see rank_tests"
    if n <= d + q:
        return f"{n} rows are no more than the {d} + {q} columns of both sides"
    if n < ROWS_PER_COLUMN * (d + q):
        return (
            f"{n} rows are fewer than {ROWS_PER_COLUMN} for each of {d} + {q} columns; "
            "see canonical_correlations and invertibility, which hold out"
        )
    return ""
