"""What holds in the population of worlds: worlds, models and clusters resampled as they are nested.

Intervals of a single fit hold for one world and one trained model. The unit of replication of a
claim about training is the world, then the trained model, then the cluster.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.hypotheses import HypothesisTest, invalid, t_test
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .arrays import FloatArray, IntArray, check_level
from .bootstrap import replicates
from .design import cluster_codes

FEWEST_REPLICATES = 50
FEWEST_WORLDS = 5
NO_SPREAD = 1e-12

Statistic = Callable[[FloatArray, FloatArray], float]


@dataclass(frozen=True, slots=True)
class HierarchicalBootstrap(Result):
    """A statistic of nested samples, with an interval for the population of their top units.

    Attributes
    ----------
    value
        The statistic; the interval is NaN where there is no reason to believe one. ``n_clusters``
        counts the top units.
    percentile
        Percentiles of the replicates, for comparison.
    test
        Of a statistic of ``null`` in the population.
    units
        Name of each level, from the top, and how many units it has.
    why_no_interval
        Empty where there is one.
    n_replicates
        How many.
    quantity, layer
        Labels that the caller gave.
    """

    value: Estimate
    percentile: tuple[float, float]
    test: HypothesisTest
    units: tuple[tuple[str, int], ...]
    why_no_interval: str
    n_replicates: int
    quantity: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"{self.quantity} over {self.units[0][0]}s"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        units = ", ".join(f"{count} × {name}" for name, count in self.units)
        return f"{self.quantity} over {units}: {self.value}"

    def rows(self) -> Iterator[Row]:
        """Return the one row."""
        term = " > ".join(name for name, _ in self.units)
        yield Row("hierarchical_bootstrap", self.quantity, term, self.value, self.layer)

    def lines(self) -> list[str]:
        """State the percentiles, and the test or why there is none."""
        low, high = self.percentile
        return [
            f"  percentiles of {self.n_replicates} replicates {low:.3f} to {high:.3f}",
            f"  {self.test}",
            *([f"  {self.why_no_interval}"] if self.why_no_interval else []),
        ]

    def panel(self) -> Panel:
        """Forest plot of the interval beside the percentiles."""
        low, high = self.percentile
        level, n, count = self.value.ci_level, self.value.n, self.value.n_clusters
        plain = Estimate(self.value.estimate, math.nan, low, high, level, math.nan, n, count)
        return forest([("Student's t", self.value), ("percentiles", plain)], self.quantity)


def weighted_mean(values: FloatArray, weights: FloatArray) -> float:
    """Mean of values (n, …) under weights (n,) that sum to one; over all columns, if several."""
    return float(np.mean(weights @ values))


def hierarchical_bootstrap(
    values: npt.ArrayLike,
    levels: Mapping[str, npt.ArrayLike],
    *,
    statistic: Statistic = weighted_mean,
    null: float = 0.0,
    n_replicates: int = 1999,
    seed: int = 0,
    level: float = 0.95,
    within: bool = True,
    n_workers: int = 1,
    quantity: str = "mean",
    layer: str = "",
) -> HierarchicalBootstrap:
    """Resample worlds, then models within worlds, then clusters within models.

    With few units at the top the percentile interval is too narrow: read Student's t with G − 1.

    Every unit counts alike within its parent (a mean over worlds of means over models …), whatever
    its size. Draws with replacement at each level act as weights, so that no row is copied. The
    interval is Student's t with G − 1 degrees of freedom for G top units, the standard error being
    that of the replicates times √(G/(G − 1)). Resampling below the top counts variation within
    worlds twice (Davison and Hinkley 1997, section 3.8, https://doi.org/10.1017/CBO9780511802843),
    so that the interval is safe, and too wide where worlds hardly differ: 95% intervals for 5 to 20
    worlds of 4 models of 10 clusters covered in 95–97% of samples where worlds differed most, in
    98–100% where they did not; percentiles in 86–95% and 97–100%. Worlds alone (``within=False``)
    with Student's t: 93–96% throughout.

    Parameters
    ----------
    values
        (n,) or (n, p) numbers of the lowest units, such as held-out R² of each trained model.
    levels
        Name and (n,) labels of each level, from the top down: ``{"world": …, "model": …}``. A label
        belongs to its parent: model 1 of world A is not model 1 of world B.
    statistic
        Of values and weights (n,) that sum to one; the mean by default.
    null
        Value of the statistic under the null of the test.
    n_replicates, seed, level
        Number of resamples, the seed of all of them, confidence level.
    within
        Whether to resample below the top too.
    n_workers
        Threads; the answer does not depend on it.
    quantity, layer
        Labels for the tidy table.

    Raises
    ------
    InputError
        If there is no level, lengths differ, a value or a statistic is not finite, or a number is
        out of range.
    """
    check_level(level)
    if n_replicates < FEWEST_REPLICATES:
        raise InputError(f"n_replicates is {n_replicates}; give at least {FEWEST_REPLICATES}.")
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.ndim or not len(numbers) or not np.isfinite(numbers).all():
        raise InputError("values must be an array of finite numbers with at least one row.")
    tree = _nest(levels, len(numbers))

    def draw(rng: np.random.Generator) -> float:
        return float(statistic(numbers, tree.draw(rng, within=within)))

    estimate = float(statistic(numbers, tree.shares))
    drawn = replicates(draw, n_replicates, seed, n_workers)
    if not (math.isfinite(estimate) and np.isfinite(drawn).all()):
        raise InputError("The statistic is not finite for some resample; give one that always is.")
    top, n_top = tree.units[0]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    error = float(drawn.std(ddof=1)) * math.sqrt(n_top / max(n_top - 1, 1))
    reason = f"{n_top} units of {top} are too few for an interval; {FEWEST_WORLDS} are the least"
    words = f"{quantity} is {null:g} in the population of {top}s"
    if n_top < FEWEST_WORLDS:
        reach, test = math.nan, invalid(words, reason)
    elif error <= NO_SPREAD * abs(estimate):
        reach, reason = 0.0, ""
        test = invalid(words, f"the statistic does not vary between units of {top}")
    else:
        reach, reason = float(special.stdtrit(n_top - 1, 1.0 - tail)) * error, ""
        test = t_test(words, (estimate - null) / error, n_top - 1)
    ends = estimate - reach, estimate + reach
    result = Estimate(estimate, error, *ends, level, test.p_value, len(numbers), n_top)
    between = (float(low), float(high))
    return HierarchicalBootstrap(
        result, between, test, tree.units, reason, n_replicates, quantity, layer
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """Nested units: for each level the parent of each unit, units of one parent side by side."""

    units: tuple[tuple[str, int], ...]
    parents: tuple[IntArray, ...]
    rows: IntArray
    shares: FloatArray

    def draw(self, rng: np.random.Generator, *, within: bool = True) -> FloatArray:
        """Weights (n,) of one resample, of the top alone if not ``within``; they sum to one."""
        counts = np.ones(1, dtype=np.int64)
        for depth, parent in enumerate(self.parents):
            if depth and not within:
                counts = counts[parent]
                continue
            sizes = np.bincount(parent)
            slots = np.repeat(np.arange(len(sizes)), counts * sizes)
            first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            picked = first[slots] + rng.integers(sizes[slots])
            counts = np.bincount(picked, minlength=len(parent))
        return np.asarray(self.shares * counts[self.rows])


def _nest(levels: Mapping[str, npt.ArrayLike], n: int) -> _Tree:
    """Code the units of each level within their parents."""
    if not levels:
        raise InputError("levels is empty; name at least one, such as {'world': labels}.")
    codes, shares = np.zeros(n, dtype=np.int64), np.ones(1)
    units, parents = [], []
    for name, labels in levels.items():
        try:
            pairs = np.column_stack([codes, cluster_codes(np.asarray(labels), n)])
        except InputError as error:
            raise InputError(f"Level {name}: {error}") from error
        found, codes = np.unique(pairs, axis=0, return_inverse=True)
        parent = found[:, 0]
        shares = shares[parent] / np.bincount(parent)[parent]
        parents.append(parent)
        units.append((name, len(found)))
    shares = shares[codes] / np.bincount(codes)[codes]
    return _Tree(tuple(units), tuple(parents), codes, shares)
