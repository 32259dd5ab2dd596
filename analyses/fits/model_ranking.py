"""Which of several models of the same contexts foretells them best, and by how much?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .predictive_accuracy import CRITERIA, PredictiveAccuracy, total

SMALL_DIFFERENCE = 4.0
"""In nats: below it the normal interval of a difference is too short (Sivula et al.)."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelRanking(Result):
    """Models by expected log predictive density, the best first.

    Attributes
    ----------
    accuracies
        By the model's name.
    differences
        Of each from the best, in nats, below zero, with the interval of a paired sum over contexts;
        that of the best is zero.
    """

    accuracies: Mapping[str, PredictiveAccuracy]
    differences: Mapping[str, Estimate]

    @property
    def best(self) -> str:
        """Name of the best model."""
        return next(iter(self.accuracies))

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Models by predictive density"

    def rows(self) -> list[Row]:
        """Return the rows of :meth:`tidy`."""
        rows = [
            Row("rank_models", row.quantity, name, row.value)
            for name, accuracy in self.accuracies.items()
            for row in accuracy.rows()
        ]
        return rows + [
            Row("rank_models", "elpd_difference", name, value, control=self.best)
            for name, value in self.differences.items()
            if name != self.best
        ]

    def panel(self) -> Panel:
        """Draw the differences from the best with their intervals."""
        return forest(list(self.differences.items()), "difference in log density (nats)")

    @property
    def headline(self) -> str:
        """Name the criterion and the unit."""
        criterion = next(iter(self.accuracies.values())).criterion
        return f"{CRITERIA[criterion]}; nats, difference from the best with its standard error"

    def lines(self) -> list[str]:
        """Return a line a model."""
        width = max(map(len, self.accuracies))
        lines = [
            f"{'':{width}}  {'elpd':>14} {'difference':>12} {'SE':>8} {'p_eff':>8}",
        ]
        for name, accuracy in self.accuracies.items():
            value = self.differences[name]
            effective = accuracy.p_effective
            shown = "" if math.isnan(effective) else f"{effective:8.1f}"
            lines.append(
                f"{name:{width}}  {accuracy.elpd.estimate:14,.2f} {value.estimate:12,.2f} "
                f"{value.std_error:8.2f} {shown:>8}"
            )
        lines += [
            f"{name}: {accuracy.n_untrusted:,} contexts have a Pareto k above "
            f"{accuracy.highest_k:.2f}; its density cannot be trusted."
            for name, accuracy in self.accuracies.items()
            if accuracy.n_untrusted
        ]
        close = [n for n, v in self.differences.items() if 0 < -v.estimate < SMALL_DIFFERENCE]
        if close:
            lines.append(
                f"Differences of less than {SMALL_DIFFERENCE:g} nats ({', '.join(close)}) say "
                f"little, and their standard errors are too small."
            )
        return lines


def rank_models(
    accuracies: Mapping[str, PredictiveAccuracy], *, level: float = 0.95
) -> ModelRanking:
    """Order models, and compare each with the best, context by context.

    The standard error of a difference is that of a sum of paired terms, which is smaller than the
    two sums' own errors let expect (Vehtari, Gelman and Gabry 2017,
    https://doi.org/10.1007/s11222-016-9696-4). It is too small where the models hardly differ
    (Sivula et al. 2020, https://arxiv.org/abs/2008.10296).

    Parameters
    ----------
    accuracies
        By name, all of the same contexts in the same order and by the same criterion.
    level
        Of the intervals.

    Raises
    ------
    InputError
        If there are fewer than two models, or they cannot be compared.
    """
    if len(accuracies) < 2:
        raise InputError("give two or more fits to compare.")
    first_name, first = next(iter(accuracies.items()))
    for name, accuracy in accuracies.items():
        if accuracy.criterion != first.criterion:
            raise InputError(
                f"{first_name} and {name} are measured by different criteria, {first.criterion} "
                f"and {accuracy.criterion}; they have no common scale."
            )
        if not np.array_equal(accuracy.weights, first.weights):
            raise InputError(f"{first_name} and {name} are of different contexts or weights.")
    order = sorted(accuracies, key=lambda name: -accuracies[name].elpd.estimate)
    best = accuracies[order[0]]
    differences = {
        name: total(accuracies[name].pointwise - best.pointwise, best.weights, level)
        for name in order
    }
    return ModelRanking({name: accuracies[name] for name in order}, differences)
