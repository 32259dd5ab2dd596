"""Does one matrix of weights and offsets hold more than another: paired, on the same words."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.multiplicity import holm
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, result_frame
from concept_ppl.errors import InputError

from .counterfactual_matrices import CounterfactualMatrix
from .intervals import mean_influence, plain_estimate


@dataclass(frozen=True, slots=True, eq=False)
class DiagonalDifference(Result):
    """Diagonal of one matrix minus that of another, of the same pairs and splits.

    Attributes
    ----------
    mean
        Difference of the mean cosine; p-value two-sided, of the null of none.
    mean_order
        Difference of the mean share of new pairs in order.
    concepts
        Difference of each concept's cosine; p-values not adjusted.
    names, first, second, layer
        Of the concepts; what was compared; label that the caller gave.
    """

    mean: Estimate
    mean_order: Estimate
    concepts: tuple[Estimate, ...]
    names: tuple[str, ...]
    first: str
    second: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"{self.first} minus {self.second}"

    def rows(self) -> Iterator[Row]:
        """Means and concepts, a row each; p-values not adjusted."""
        yield from self._mean_rows()
        yield from self._concept_rows()

    def lines(self) -> list[str]:
        """Say the means and list the concepts."""
        return [f"  {name}  {value}" for name, value in self._entries()]

    def panel(self) -> Panel:
        """Forest plot of the differences."""
        return forest(self._entries(), f"cosine, {self.first} minus {self.second}")

    def tidy(self) -> pd.DataFrame:
        """Return the rows, those of concepts adjusted by Holm."""
        by_concept = holm(result_frame(self._concept_rows()))
        return pd.concat([self.tidy_means(), by_concept], ignore_index=True)

    def tidy_means(self) -> pd.DataFrame:
        """Return the differences of the means, a row each."""
        return result_frame(self._mean_rows())

    def _entries(self) -> list[tuple[str, Estimate]]:
        named = zip(self.names, self.concepts, strict=True)
        return [("mean over concepts", self.mean), ("mean order", self.mean_order), *named]

    def _mean_rows(self) -> Iterator[Row]:
        named = (("mean_diagonal", self.mean), ("mean_order", self.mean_order))
        for quantity, value in named:
            yield Row("difference", quantity, self.first, value, self.layer, self.second)

    def _concept_rows(self) -> Iterator[Row]:
        for name, value in zip(self.names, self.concepts, strict=True):
            term = f"{self.first}: {name}"
            yield Row("difference", "cosine_diagonal", term, value, self.layer, self.second)


def diagonal_difference(
    a: CounterfactualMatrix,
    b: CounterfactualMatrix,
    *,
    first: str = "first",
    second: str = "second",
    layer: str = "",
) -> DiagonalDifference:
    """Take the difference of two diagonals; each unit of pairs is compared with itself.

    Parameters
    ----------
    a, b
        From `counterfactual_matrix` with the same design.
    first, second
        What they are of.
    layer
        Label.

    Raises
    ------
    InputError
        If the two are not of the same concepts and units.
    """
    if a.names != b.names or a.diagonal_influence.shape != b.diagonal_influence.shape:
        raise InputError("The two matrices are not of the same pairs; use one design for both.")
    level = a.mean_diagonal.ci_level
    moved = a.diagonal_influence - b.diagonal_influence
    values = np.array(
        [x.estimate - y.estimate for x, y in zip(a.diagonal, b.diagonal, strict=True)]
    )
    n, units = a.mean_diagonal.n, a.mean_diagonal.n_clusters
    return DiagonalDifference(
        plain_estimate(float(values.mean()), mean_influence(moved), level, n, units),
        plain_estimate(
            a.mean_order.estimate - b.mean_order.estimate,
            mean_influence(a.order_influence - b.order_influence),
            level,
            n,
            units,
        ),
        tuple(
            plain_estimate(float(values[k]), moved[:, k], level, own.n, own.n_clusters)
            for k, own in enumerate(a.diagonal)
        ),
        a.names,
        first,
        second,
        layer,
    )
