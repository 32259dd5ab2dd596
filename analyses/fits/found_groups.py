"""Are found groups the true ones, whatever they are called?"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, check_level
from concept_ppl.analyses.designs.intervals import share_limits
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

N_DRAWS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class ClusteringAgreement(Result):
    """Found groups beside true ones.

    Attributes
    ----------
    adjusted_rand
        1: the same partition; 0 on average for a random one of the same sizes.
    accuracy
        Share of rows in the group that is matched to their own.
    counts
        (n_found, n_true) rows of each pair.
    matched
        (n_true,) the found group that is matched to each true one, −1 for none.
    """

    adjusted_rand: Estimate
    accuracy: Estimate
    counts: IntArray
    matched: IntArray

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Agreement of partitions"

    def rows(self, term: str = "") -> list[Row]:
        """Return both measures as rows of a tidy table."""
        return [
            Row("clustering_agreement", "adjusted_rand", term, self.adjusted_rand),
            Row("clustering_agreement", "accuracy", term, self.accuracy),
        ]

    def panel(self) -> Panel:
        """Draw both measures with their intervals."""
        return forest([(row.quantity, row.value) for row in self.rows()], "agreement")

    @property
    def headline(self) -> str:
        """Return both measures on one line."""
        return f"adjusted Rand index {self.adjusted_rand}; accuracy matched {self.accuracy}"

    def lines(self) -> tuple[str, ...]:
        """Return none: the headline says all."""
        return ()


def clustering_agreement(
    found: npt.ArrayLike, true: npt.ArrayLike, *, level: float = 0.95, seed: int = 0
) -> ClusteringAgreement:
    """Compare two partitions of the same rows.

    The index is that of Hubert and Arabie 1985, https://doi.org/10.1007/BF01908075. Its interval
    holds the quantiles over tables of cell probabilities drawn from their posterior given the
    counts, with the prior of Perks (one observation, spread evenly), so that a sample without an
    error does not claim that there are none; the interval of the accuracy is that of
    `share_limits`.

    Parameters
    ----------
    found, true
        (n,) codes 0, 1, …
    level
        Of the intervals.
    seed
        Of the draws.

    Raises
    ------
    InputError
        If there are fewer than two rows or the lengths differ.
    """
    check_level(level)
    own, truth = np.asarray(found, np.int64), np.asarray(true, np.int64)
    if own.shape != truth.shape or own.ndim != 1 or len(own) < 2:
        raise InputError(
            f"found has shape {own.shape}, true {truth.shape}; give two or more rows to both."
        )
    n, shape = len(own), (int(own.max()) + 1, int(truth.max()) + 1)
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, (own, truth), 1)
    matched = _matching(counts)
    rng = np.random.default_rng(seed)
    cells = counts.ravel() + 1 / counts.size
    drawn = rng.dirichlet(cells, N_DRAWS).reshape(N_DRAWS, *shape)
    indices = np.array([adjusted_rand_index(n * table) for table in drawn])
    is_matched = matched >= 0
    places = (matched[is_matched], np.flatnonzero(is_matched))
    return ClusteringAgreement(
        _estimate(adjusted_rand_index(counts.astype(np.float64)), indices, level, n),
        _share(float(counts[places].sum()) / n, n, level),
        counts,
        matched,
    )


def adjusted_rand_index(counts: FloatArray) -> float:
    """Return the index of a table of counts, 1 where both partitions have one group."""
    n = counts.sum()
    pairs = _pairs(counts).sum()
    rows, columns = _pairs(counts.sum(axis=1)).sum(), _pairs(counts.sum(axis=0)).sum()
    expected, most = rows * columns / _pairs(n), (rows + columns) / 2
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def _pairs(counts: FloatArray) -> FloatArray:
    return counts * (counts - 1) / 2


def _matching(counts: IntArray) -> IntArray:
    matched = np.full(counts.shape[1], -1)
    rows, columns = linear_sum_assignment(-counts)
    matched[columns] = rows
    return matched


def _share(value: float, n: int, level: float) -> Estimate:
    error = math.sqrt(value * (1 - value) / (n - 1))
    return Estimate(value, error, *share_limits(value, n, level), level, math.nan, n, n)


def _estimate(value: float, draws: FloatArray, level: float, n: int) -> Estimate:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    ends = (min(float(low), value), max(float(high), value))
    return Estimate(value, float(draws.std(ddof=1)), *ends, level, math.nan, n, n)
