"""How much of the contrasts can be read off the states, and of the states off the contrasts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.decomposition import States, as_decomposed, decompose
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.analyses.designs.repeats import contrasts_beside
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row

from .contenders import Controls
from .controls import ControlComparison, beside_controls
from .forward_errors import forward_errors


@dataclass(frozen=True, slots=True)
class GoodnessOfFit(Result):
    """Held-out R² in both directions; the p-value is one-sided, of the null R² ≤ 0.

    Attributes
    ----------
    forward
        R²(F|Z), all coordinates of F together.
    backward
        R²(Z|F), all contrasts together: total squared error over total spread, both in the squared
        unit of Z (nats² for log-odds).
    per_contrast
        R² of each column of Z given F.
    target, layer
        Labels that the caller gave.
    controls
        The same states beside their controls, where controls were given.
    """

    forward: Estimate
    backward: Estimate
    per_contrast: tuple[tuple[str, Estimate], ...]
    target: str
    layer: str
    controls: ControlComparison | None = None

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Held-out R² of the {self.target}"

    def rows(self) -> Iterator[Row]:
        """One row an R²; `term` is the target, or target:contrast. Then those of the controls."""
        name = "goodness_of_fit"
        yield Row(name, "r2_forward", self.target, self.forward, self.layer)
        yield Row(name, "r2_backward", self.target, self.backward, self.layer)
        for contrast, value in self.per_contrast:
            yield Row(name, "r2_backward", f"{self.target}:{contrast}", value, self.layer)

    def lines(self) -> list[str]:
        """List the estimates, a line each."""
        return [
            f"  forward  R²(F|Z)  {self.forward}",
            f"  backward R²(Z|F)  {self.backward}",
            *(f"    {name}  {value}" for name, value in self.per_contrast),
        ]

    def panel(self) -> Panel:
        """Forest plot of all R²."""
        overall = [("F given Z", self.forward), ("Z given F", self.backward)]
        return forest([*overall, *self.per_contrast], "held-out R²")

    def beside(self) -> tuple[Result, ...]:
        """Return the controls, where there are some."""
        return () if self.controls is None else (self.controls,)


def goodness_of_fit(
    F: States,
    Z: npt.ArrayLike,
    *,
    controls: Controls | None = None,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> GoodnessOfFit:
    """Held-out R² of the affine maps between states and contrasts, with cluster intervals.

    R² = 1 − SSE/SST on held-out rows, the baseline being the mean of the training folds; it is
    negative where the map does worse than that mean. The estimand is the average performance of
    the K fitted maps (Bayle et al. 2020, https://arxiv.org/abs/2007.12671), which lies below that
    of the best affine map by the cost of estimating it; intervals on log(1 − R²).

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    Z
        (n, q) contrasts: log-odds in nats, or probabilities without the last value.
    controls
        Arrays (n, d_control) or decomposed ones that the states must beat, as `compare_controls`
        takes them; the comparison stands beside the estimates.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    names
        Of the q contrasts.
    target, layer
        Labels for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, drawn from the seed.
    level
        Confidence level.

    Raises
    ------
    InputError
        If an array is not finite, constant, collinear or of another length, or clusters are few.
    """
    check_level(level)
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    contrasts, labels = contrasts_beside(states, Z, names)
    fit = cross_fit(states, contrasts)
    errors = squared_errors(fit)
    forward = forward_errors(decompose(contrasts, design), states.rows)
    return GoodnessOfFit(
        explained_share(forward, level),
        explained_share(errors, level),
        tuple((label, explained_share(errors.column(i), level)) for i, label in enumerate(labels)),
        target,
        layer,
        None if controls is None else beside_controls(fit, controls, target, layer, seed, level),
    )


def decoded_contrasts(
    F: States,
    Z: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> FloatArray:
    """Contrasts (n, q) as read off the states by maps that never saw their fold, in units of Z.

    For scatter plots beside `goodness_of_fit`, which has the same parameters.

    Raises
    ------
    InputError
        As `goodness_of_fit`.
    """
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    contrasts, _ = contrasts_beside(states, Z)
    return cross_fit(states, contrasts).predicted
