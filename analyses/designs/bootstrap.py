"""How sure are held-out numbers when everything is fitted again: clusters randomly reweighted.

The intervals of `goodness_of_fit` and `canonical_correlations` hold for the maps as fitted; those
here refit them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.distributed import Crew, answers
from concept_ppl.errors import InputError, UnfinishedError

from .arrays import FloatArray, IntArray, check_level
from .decomposition import States, as_decomposed
from .refits import QUANTITIES, Refitter, make_refitter, refit
from .repeats import contrasts_beside

WEIGHT_SD = 1.0
"""Standard deviation of the clusters' random weights; 1 is the Bayesian bootstrap's."""

FEWEST_REFITS = 50
AT_ONCE = 10
"""Replicates that one of a crew draws at once."""


@dataclass(frozen=True, slots=True)
class ClusterBootstrap(Result):
    """Held-out numbers with intervals from refits under random weights of the clusters; no tests.

    Attributes
    ----------
    forward, backward
        R²(F|Z) and R²(Z|F), as in `goodness_of_fit`.
    smallest, mean
        Signed squared canonical correlations, as in `canonical_correlations`.
    n_refits, weight_sd
        How many, and the standard deviation of the weights.
    target, layer
        Labels that the caller gave.
    """

    forward: Estimate
    backward: Estimate
    smallest: Estimate
    mean: Estimate
    n_refits: int
    weight_sd: float
    target: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Held-out fit of the {self.target}, {self.n_refits} refits"

    def rows(self) -> Iterator[Row]:
        """One row a quantity."""
        for name, value in zip(QUANTITIES, self._estimates(), strict=True):
            yield Row("cluster_bootstrap", name, self.target, value, self.layer)

    def lines(self) -> list[str]:
        """List the estimates, a line each."""
        names = ("forward  R²(F|Z)", "backward R²(Z|F)", "smallest ρ²", "mean ρ²")
        return [f"  {name}  {value}" for name, value in zip(names, self._estimates(), strict=True)]

    def panel(self) -> Panel:
        """Forest plot of the four estimates."""
        names = ("R²(F|Z)", "R²(Z|F)", "smallest ρ²", "mean ρ²")
        return forest(list(zip(names, self._estimates(), strict=True)), "held out")

    def _estimates(self) -> tuple[Estimate, ...]:
        return self.forward, self.backward, self.smallest, self.mean


def cluster_bootstrap(
    F: States,
    Z: npt.ArrayLike,
    *,
    n_refits: int = 1000,
    weight_sd: float = WEIGHT_SD,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
    n_workers: int = 1,
    crew: Crew | None = None,
) -> ClusterBootstrap:
    """Refit held-out R² and canonical correlations under random weights of whole clusters.

    Exchangeably weighted bootstrap (Præstgaard and Wellner 1993,
    https://doi.org/10.1214/aop/1176989011): each cluster's weight is multiplied by a gamma variable
    of mean 1 and standard deviation ``weight_sd``, folds stay, penalties are chosen again. Weights
    are positive, so that no refit loses a rare value.

    A refit has fewer effective clusters, G/(1 + weight_sd²), than the sample, and so a lower
    held-out R²: percentiles of refits lie too low, and the more so the wider the states. The
    interval therefore takes only the spread of the refits, divided by ``weight_sd``, as standard
    error on the scale log(1 − R²) or log(1 − ρ²), with Student's t of G − 1 degrees of freedom
    about the estimate. It speaks of the expected performance of maps trained on this many clusters,
    not of the best affine map, which lies higher. With 100 clusters of 3 rows and 60 coordinates,
    95% intervals of the four numbers covered in 94–98% of samples; percentiles in 62–97%, basic
    ones in 46–86%, bias-corrected percentiles in 39–86%.

    Parameters
    ----------
    F, Z
        (n, d) states, or the result of `decompose_states`, and (n, q) contrasts with q ≤ d.
    n_refits
        At least 50; 200 give the standard error to 5%, 1,000 to 2%.
    weight_sd
        In (0, 1].
    weights, clusters, names, target, layer, n_folds, seed, level
        As in `goodness_of_fit`; the seed draws the weights too.
    n_workers
        Threads that refit; the answer does not depend on it.
    crew
        Who refits in place of threads, from :func:`concept_ppl.distributed.hired`: processes, or
        the machines of a Ray cluster.

    Raises
    ------
    InputError
        As `canonical_correlations`, or if n_refits, weight_sd or n_workers is out of range.
    """
    check_level(level)
    if n_refits < FEWEST_REFITS:
        raise InputError(f"n_refits is {n_refits}; give at least {FEWEST_REFITS}.")
    if not 0.0 < weight_sd <= 1.0:
        raise InputError(f"weight_sd is {weight_sd}; it must lie in (0, 1].")
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    contrasts, _ = contrasts_beside(states, Z, names)
    refitter = make_refitter(states, contrasts)
    shape = weight_sd**-2

    draw = partial(_refit_reweighted, refitter, design.weights, design.clusters, shape)
    values = refit(refitter, design.weights)
    drawn = replicates(draw, n_refits, seed, n_workers, crew)
    room, rooms = np.log1p(-values), np.log1p(-drawn)
    errors = rooms.std(axis=0, ddof=1) / weight_sd
    reach = float(special.stdtrit(design.n_clusters - 1, 0.5 + level / 2.0)) * errors
    forward, backward, smallest, mean = (
        Estimate(
            float(values[i]),
            float((1.0 - values[i]) * errors[i]),
            float(-np.expm1(room[i] + reach[i])),
            float(-np.expm1(room[i] - reach[i])),
            level,
            math.nan,
            design.n,
            design.n_clusters,
        )
        for i in range(len(QUANTITIES))
    )
    return ClusterBootstrap(forward, backward, smallest, mean, n_refits, weight_sd, target, layer)


def _refit_reweighted(
    refitter: Refitter,
    weights: FloatArray,
    clusters: IntArray,
    shape: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Refit once, under weights of whole clusters that are drawn anew."""
    factors = rng.gamma(shape, 1.0 / shape, size=int(clusters.max()) + 1)
    return refit(refitter, weights * factors[clusters])


def replicates(
    draw: Callable[[np.random.Generator], npt.ArrayLike],
    n: int,
    seed: int,
    n_workers: int,
    crew: Crew | None = None,
) -> FloatArray:
    """Draw n replicates, each from its own child of the seed, so that workers change nothing.

    Threads, because numpy and LAPACK release the interpreter's lock; or a crew, to which ``draw``
    must be able to travel.
    """
    if n_workers < 1:
        raise InputError(f"n_workers is {n_workers}; give at least 1.")
    if crew is not None:
        return _by_crew(draw, n, seed, crew)
    generators = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(n))
    if n_workers == 1:
        return np.array([draw(rng) for rng in generators])
    with ThreadPoolExecutor(n_workers) as pool:
        return np.array(list(pool.map(draw, generators)))


def _by_crew(
    draw: Callable[[np.random.Generator], npt.ArrayLike], n: int, seed: int, crew: Crew
) -> FloatArray:
    starts = range(0, n, AT_ONCE)
    drawn: dict[int, FloatArray] = {}
    blocks = [range(start, min(start + AT_ONCE, n)) for start in starts]
    with closing(answers(crew, partial(_drawing, draw, seed), blocks)) as made:
        for answer in made:
            if answer.failure is not None:
                raise UnfinishedError(f"a replicate failed: {answer.failure.reason}")
            drawn[answer.index] = answer.value
    return np.concatenate([drawn[block] for block in range(len(blocks))])


def _drawing(
    draw: Callable[[np.random.Generator], npt.ArrayLike], seed: int
) -> Callable[[range], FloatArray]:
    """Return what draws a block of replicates, each from the child of the seed that is its own."""

    def draw_block(block: range) -> FloatArray:
        children = (np.random.SeedSequence(seed, spawn_key=(number,)) for number in block)
        return np.array([draw(np.random.default_rng(child)) for child in children])

    return draw_block
