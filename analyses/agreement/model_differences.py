"""Does one model tell more of the contrasts than another, on the same contexts and folds?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy.typing as npt
import pandas as pd

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.designs.correlations import squared_correlation_difference
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.decomposition import (
    DecomposedStates,
    States,
    as_decomposed,
    on_same_design,
)
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.analyses.designs.intervals import warn_of_few_clusters
from concept_ppl.analyses.designs.repeats import contrasts_beside
from concept_ppl.analyses.designs.shares import share_difference
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.multiplicity import holm
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, result_frame

from .canonical import canonical_scores
from .controls import beside_controls

ANALYSIS = "model_difference"


@dataclass(frozen=True, slots=True)
class ModelDifference(Result):
    """Held-out fit of the first model's states minus that of the second's, paired.

    Attributes
    ----------
    shares
        R²(Z|F) of the first and of the second model; p-value one-sided, of R² ≤ 0.
    r2
        Their difference; p-value two-sided, of none, as of all differences here.
    per_contrast
        Difference in R² of each contrast, its p-value not adjusted.
    smallest, mean
        Difference of the smallest and of the mean held-out squared canonical correlation.
    increments
        What the first model adds to the second, R²([F2, F1]) − R²(F2), and the second to the first.
    models
        Names of the two.
    target, layer
        Labels that the caller gave.
    """

    shares: tuple[Estimate, Estimate]
    r2: Estimate
    per_contrast: tuple[tuple[str, Estimate], ...]
    smallest: Estimate
    mean: Estimate
    increments: tuple[Estimate, Estimate]
    models: tuple[str, str]
    target: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"{self.models[0]} minus {self.models[1]}, held out"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"{self.title}: R²({self.target}|F)"

    def rows(self) -> Iterator[Row]:
        """Both R², differences and increments, then the contrasts; p-values not adjusted.

        ``term`` begins with the model that a row speaks of; a difference is from the model that
        ``control`` names.
        """
        yield from self._paired_rows()
        yield from self._contrast_rows()

    def _paired_rows(self) -> Iterator[Row]:
        def row(quantity: str, name: str, value: Estimate, other: str = "") -> Row:
            term = f"{name}: {self.target}"
            return Row(ANALYSIS, quantity, term, value, self.layer, other)

        first, second = self.models
        yield row("r2_backward", first, self.shares[0])
        yield row("r2_backward", second, self.shares[1])
        yield row("r2_difference", first, self.r2, second)
        yield row("rho2_smallest_difference", first, self.smallest, second)
        yield row("rho2_mean_difference", first, self.mean, second)
        yield row("r2_increment", first, self.increments[0], second)
        yield row("r2_increment", second, self.increments[1], first)

    def lines(self) -> list[str]:
        """List both R², the differences and the increments, a line each."""
        levels = [
            f"  {name}  {share}" for name, share in zip(self.models, self.shares, strict=True)
        ]
        lines = [f"  {name}  {value}" for name, value in self._differences()]
        return [*levels, *lines]

    def panel(self) -> Panel:
        """Forest plot of the differences and increments."""
        return forest(self._differences(), self.title)

    def tidy(self) -> pd.DataFrame:
        """Return the rows, those of contrasts adjusted by Holm."""
        paired = result_frame(self._paired_rows())
        return pd.concat([paired, self.tidy_contrasts()], ignore_index=True)

    def tidy_contrasts(self) -> pd.DataFrame:
        """Return the differences of the contrasts, a row each, adjusted by Holm."""
        return holm(result_frame(self._contrast_rows()))

    def _differences(self) -> list[tuple[str, Estimate]]:
        first, second = self.models
        return [
            (f"R² of the {self.target}", self.r2),
            *self.per_contrast,
            ("smallest ρ²", self.smallest),
            ("mean ρ²", self.mean),
            (f"{first} adds to {second}", self.increments[0]),
            (f"{second} adds to {first}", self.increments[1]),
        ]

    def _contrast_rows(self) -> Iterator[Row]:
        first, second = self.models
        for name, value in self.per_contrast:
            term = f"{first}: {self.target}:{name}"
            yield Row(ANALYSIS, "r2_difference", term, value, self.layer, second)


def model_difference(
    F1: States,
    F2: States,
    Z: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    models: tuple[str, str] = ("first", "second"),
    target: str = "log_odds",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> ModelDifference:
    """Compare what two models' states of the same contexts tell about the contrasts, paired.

    Each model has its own maps and penalties, on the same folds. What two models share, hard
    contexts above all, cancels row by row, so that a paired interval is shorter than two intervals
    side by side suggest. Estimands are those of `goodness_of_fit` and `canonical_correlations`:
    maps fitted to this many contexts, on new ones. Intervals are by Student's t on cluster sums of
    paired influences, as test rows and through training; those of the increments count the joint
    map as given, as in `compare_controls`. A model may exceed another without knowing all that the
    other knows: then both increments are above 0.

    Parameters
    ----------
    F1, F2
        (n, d1) and (n, d2) states, or results of `decompose_states` of the same design.
    Z
        (n, q) contrasts: log-odds in nats, q no more than d1 and d2.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    names
        Of the q contrasts.
    models
        Names of the two.
    target, layer
        Labels for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, drawn from the seed.
    level
        Confidence level.

    Raises
    ------
    InputError
        If an array is not finite, does not vary or is of another length, designs differ, or there
        are more contrasts than coordinates of a model.
    """
    check_level(level)
    first = as_decomposed(F1, weights, clusters, n_folds, seed)
    second = on_same_design(F2, first.design)
    contrasts, labels = contrasts_beside(first, Z, names)
    warn_of_few_clusters(first.design)
    fits = [cross_fit(states, contrasts) for states in (first, second)]
    forth = beside_controls(fits[0], {models[1]: second}, target, layer, seed, level)
    back = beside_controls(fits[1], {models[0]: first}, target, layer, seed, level)
    one, other = (squared_errors(fit) for fit in fits)
    smallest, mean = _correlation_differences(first, second, contrasts, level)
    return ModelDifference(
        (forth.model, back.model),
        forth.difference,
        tuple(
            (label, share_difference(one.column(i), other.column(i), level))
            for i, label in enumerate(labels)
        ),
        smallest,
        mean,
        (forth.increment, back.increment),
        models,
        target,
        layer,
    )


def _correlation_differences(
    first: DecomposedStates, second: DecomposedStates, Z: FloatArray, level: float
) -> tuple[Estimate, Estimate]:
    """Difference of the smallest and of the mean held-out squared canonical correlation."""
    scores = [canonical_scores(states, Z) for states in (first, second)]

    def between(chosen: slice) -> Estimate:
        one, other = ((s.rho[chosen], s.test[chosen], s.training[chosen]) for s in scores)
        return squared_correlation_difference(one, other, first.design, level)

    return between(slice(-1, None)), between(slice(None))
