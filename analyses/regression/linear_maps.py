"""What is the linear map between states and contrasts, coefficient by coefficient, in sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.covariance.coefficient_inference import (
    Covariance,
    Inference,
    sandwich_inference,
)
from concept_ppl.analyses.covariance.sandwich import cluster_members, least_squares
from concept_ppl.analyses.covariance.wild_bootstrap import N_DRAWS, Multipliers, wild_inference
from concept_ppl.analyses.designs.arrays import (
    FloatArray,
    check_contrasts,
    check_level,
    check_states,
)
from concept_ppl.analyses.designs.design import make_whole_design
from concept_ppl.analyses.results.figures import Panel
from concept_ppl.analyses.results.hypotheses import HypothesisTest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Direction = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap(Result):
    """Coefficients of d regressions on the same k regressors, the intercept first.

    Attributes
    ----------
    coefficients
        (k, d) read-only, in the unit of the output for one unit of the regressor.
    inference
        Their standard errors, intervals, p-values and joint tests, or why there are none.
    r_squared
        (d,) in sample; for an honest R² see `goodness_of_fit`.
    regressors, outputs
        Names, k and d of them.
    covariance, direction, ci_level, n, n_clusters, target, layer
        As asked for, and the size of the sample.
    """

    coefficients: FloatArray
    inference: Inference
    r_squared: FloatArray
    regressors: tuple[str, ...]
    outputs: tuple[str, ...]
    covariance: Covariance
    direction: Direction
    ci_level: float
    n: int
    n_clusters: int
    target: str
    layer: str

    def __post_init__(self) -> None:
        for values in (self.coefficients, self.r_squared):
            values.flags.writeable = False

    @property
    def std_errors(self) -> FloatArray:
        """Standard errors of the coefficients, (k, d)."""
        return self.inference.std_errors

    @property
    def joint(self) -> HypothesisTest:
        """The test that all slopes of all outputs are zero."""
        return self.inference.joint

    @property
    def per_output(self) -> tuple[HypothesisTest, ...]:
        """For each output, the joint test that all its slopes are zero."""
        return self.inference.per_output

    def estimate(self, regressor: int, output: int) -> Estimate:
        """One coefficient with its interval."""
        at, found = (regressor, output), self.inference
        numbers = (self.coefficients, found.std_errors, found.ci_low, found.ci_high)
        centre, error, low, high = (float(values[at]) for values in numbers)
        p_value = float(found.p_values[at])
        return Estimate(centre, error, low, high, self.ci_level, p_value, self.n, self.n_clusters)

    @property
    def title(self) -> str:
        """Say what was asked."""
        sides = ("states", self.target) if self.direction == "forward" else (self.target, "states")
        return f"Linear map of {sides[0]} on {sides[1]} ({self.covariance})"

    def rows(self) -> Iterator[Row]:
        """One row a coefficient, `target:output:regressor`; one a test of an output; the joint."""
        name = f"linear_map_{self.direction}"
        for j, output in enumerate(self.outputs):
            for a, regressor in enumerate(self.regressors):
                term = f"{self.target}:{output}:{regressor}"
                yield Row(name, "coefficient", term, self.estimate(a, j), self.layer)
        terms = (*(f"{self.target}:{output}" for output in self.outputs), self.target)
        for term, test in zip(terms, (*self.per_output, self.joint), strict=True):
            yield test.as_row(
                name,
                "joint_test",
                term,
                n=self.n,
                n_clusters=self.n_clusters,
                level=self.ci_level,
                layer=self.layer,
            )

    def lines(self) -> list[str]:
        """Size, spread of R² and the joint test; the coefficients are in `tidy`."""
        reason = self.inference.invalid_because
        low, middle, high = np.quantile(self.r_squared, (0.0, 0.5, 1.0))
        rejected = sum(test.p_value < 1.0 - self.ci_level for test in self.per_output)
        return [
            f"  {len(self.outputs)} outputs on {len(self.regressors)} coefficients; "
            f"{self.n} rows, {self.n_clusters} clusters",
            f"  R² in sample: median {middle:.3f}, from {low:.3f} to {high:.3f}",
            f"  all slopes: {self.joint}",
            f"  outputs with slopes (not adjusted): {rejected} of {len(self.outputs)}",
            *([f"  no intervals: {reason}"] if reason else []),
        ]

    def panel(self) -> Panel:
        """Heat map of slopes over their standard errors, regressors by outputs."""
        return Panel(7.2, 1.2 + 0.2 * len(self.regressors), self._draw)

    def _draw(self, axes: "Axes") -> None:
        errors = self.std_errors[1:]
        values = np.divide(
            self.coefficients[1:], errors, out=np.zeros_like(errors), where=errors > 0
        )
        reach = float(np.abs(values).max()) or 1.0
        image = axes.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        axes.set_yticks(range(len(values)), self.regressors[1:])
        axes.set_xlabel(f"{len(self.outputs)} outputs ({self.direction})")
        label = f"slope / std. error ({self.covariance})"
        axes.figure.colorbar(image, ax=axes, label=label)


def linear_map(
    F: npt.ArrayLike,
    Z: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    covariance: Covariance = "HC3",
    direction: Direction = "forward",
    target: str = "log_odds",
    layer: str = "",
    n_draws: int = N_DRAWS,
    multipliers: Multipliers | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> LinearMap:
    """Regress states on contrasts (forward) or contrasts on states (backward), with inference.

    The coefficients are those of the best affine approximation over the contexts from which the
    rows were drawn, whether or not the relation is affine (random regressors: White 1980,
    https://doi.org/10.2307/1912934; Buja et al. 2019, https://doi.org/10.1214/18-STS693). Residuals
    are misfit, so every covariance is a sandwich. When its intervals are valid:

    - ``HC3``: rows are independent; many rows for each coefficient, no leverage near 1. Student's t
      and F with n − k degrees of freedom. Measured coverage of 90% intervals with an error
      whose spread grows with the square of the regressor: .89 with 60 rows, .895 with 300.
    - ``CR1``: clusters are independent and many, fifty or more, none much larger than the others.
      Student's t with G − 1. It is there to compare with other software; prefer CR2.
    - ``CR2``: clusters are independent. Unbiased under the working model of independent errors with
      the inverse weights as variances, and robust beyond it; Satterthwaite degrees of freedom make
      it good with few clusters (measured rejections at 5%: .04 with 7 equal ones, .05 with 15
      very unequal ones, where CR1 has .15 and .13). A warning where a coefficient has fewer than
      4, below which its p-value is too small (Tipton 2015, https://doi.org/10.1037/met0000011).
      With each row its own cluster it is HC2.
    - ``wild``: clusters are independent, and few or unequal; see `wild_bootstrap`. Standard errors
      are CR0's, for plots; intervals and p-values do not rest on them. A warning with fewer than 6
      clusters.

    Joint tests: Wald tests with HC3 and CR1, Hotelling's AHT with CR2 and for all outputs together,
    where they need fewer restrictions than there are degrees of freedom; score tests with the
    bootstrap. What cannot be tested says why.

    Parameters
    ----------
    F
        (n, d) states.
    Z
        (n, q) contrasts.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    names
        Of the q contrasts.
    covariance, direction
        As above.
    target, layer
        Labels for the tidy table.
    n_draws, multipliers, seed
        Of the bootstrap alone.
    level
        Confidence level.

    Raises
    ------
    InputError
        If an array is not finite, of another length or collinear; if there are no more rows than
        coefficients; if a row (HC3) or cluster (CR2) has leverage 1; if rows share a cluster and
        HC3 is asked for.
    """
    check_level(level)
    states = check_states(F)
    contrasts, labels = check_contrasts(Z, len(states), names)
    design = make_whole_design(len(states), weights=weights, clusters=clusters)
    coordinates = tuple(f"f{i + 1}" for i in range(states.shape[1]))
    if direction == "forward":
        X, Y, regressors, outputs = contrasts, states, labels, coordinates
    else:
        X, Y, regressors, outputs = states, contrasts, coordinates, labels
    regressors = ("const", *regressors)
    if covariance == "HC3" and design.n_clusters < design.n:
        raise InputError(
            "HC3 takes rows as independent, but rows share clusters; ask for covariance='CR2', or "
            "'wild' where clusters are few."
        )
    fit = least_squares(np.column_stack([np.ones(design.n), X]), Y, design.weights, regressors)
    members = cluster_members(design.clusters)
    if covariance == "wild":
        inference = wild_inference(
            fit, members, n_draws=n_draws, multipliers=multipliers, seed=seed, level=level
        )
    else:
        inference = sandwich_inference(fit, members, covariance, level)
    return LinearMap(
        fit.coefficients,
        inference,
        fit.r_squared,
        regressors,
        outputs,
        covariance,
        direction,
        level,
        design.n,
        design.n_clusters,
        target,
        layer,
    )
