"""How affine and how invertible is the map in the population, where every context is enumerated?

With all contexts and their probabilities p(x) at hand, R² and canonical correlations are numbers
of the population: nothing was sampled, so there is no interval, no fold and no penalty. What is
left to replicate are worlds and trained models. Held-out analyses of the same arrays ask another
question: whether a map fitted to some of the contexts holds for the rest.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, check_contrasts, check_states
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

RANK_TOLERANCE = 1e-7
"""Least singular value of states, relative to the largest: what float32 networks still resolve."""
FEWEST_FOLDS = 3


@dataclass(frozen=True, slots=True)
class PopulationFit(Result):
    """Best affine maps between states and contrasts in the population.

    Attributes
    ----------
    forward, backward
        R²(F|Z) and R²(Z|F), all columns of the response together.
    per_contrast
        R² of each column of Z given F.
    rho2
        Squared canonical correlations, largest first, one a contrast; 0 for directions of Z beyond
        the rank of F.
    rank
        Number of directions in which the states vary.
    n
        Contexts.
    target, layer
        Labels that the caller gave.
    """

    forward: float
    backward: float
    per_contrast: tuple[tuple[str, float], ...]
    rho2: tuple[float, ...]
    rank: int
    n: int
    target: str
    layer: str

    @property
    def smallest(self) -> float:
        """Squared canonical correlation of the direction that is kept worst."""
        return self.rho2[-1]

    @property
    def mean(self) -> float:
        """Mean squared canonical correlation."""
        return sum(self.rho2) / len(self.rho2)

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Affine maps of states and {self.target} in the population"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"Affine maps of states and {self.target} in the population of {self.n} contexts"

    def rows(self) -> Iterator[Row]:
        """One row a number; the columns of intervals are empty, for nothing was sampled."""

        def row(quantity: str, value: float, term: str = self.target) -> Row:
            return Row("population_fit", quantity, term, exact(value, self.n), self.layer)

        yield row("r2_forward", self.forward)
        yield row("r2_backward", self.backward)
        for name, value in self.per_contrast:
            yield row("r2_backward", value, f"{self.target}:{name}")
        yield row("rho2_smallest", self.smallest)
        yield row("rho2_mean", self.mean)
        for i, value in enumerate(self.rho2, 1):
            yield row("rho2", value, f"{self.target}:direction_{i}")

    def lines(self) -> list[str]:
        """List the numbers, a line each."""
        return [
            *(f"  {name}  {value:.6f}" for name, value in self._entries()),
            f"  states vary in {self.rank} directions",
        ]

    def panel(self) -> Panel:
        """Dots for all numbers."""
        entries = [(name, exact(value, self.n)) for name, value in self._entries()]
        return forest(entries, "population value")

    def _entries(self) -> Iterator[tuple[str, float]]:
        yield from (("R²(F|Z)", self.forward), ("R²(Z|F)", self.backward))
        yield from ((f"R²({name}|F)", value) for name, value in self.per_contrast)
        yield from ((f"ρ² {i}", value) for i, value in enumerate(self.rho2, 1))
        yield "mean ρ²", self.mean


def population_fit(
    F: npt.ArrayLike,
    Z: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    layer: str = "",
) -> PopulationFit:
    """R² both ways and all canonical correlations under p(x), exactly.

    Least squares without a penalty, in the metric of ``weights``: squared canonical correlations
    are the squared singular values of Q_F'Q_Z, Q being orthonormal bases of the weighted, centred
    columns (Björck and Golub 1973, https://doi.org/10.1090/S0025-5718-1973-0348991-3), and R²(F|Z)
    the share of F's squares that lies in the span of Q_Z.

    Parameters
    ----------
    F
        (n, d) states, of any rank.
    Z
        (n, q) contrasts, of full column rank; see `independent_contrasts` where they are not.
    weights
        (n,) probabilities of the contexts, up to a factor; equal by default.
    names
        Of the q contrasts.
    target, layer
        Labels for the tidy table.

    Raises
    ------
    InputError
        If the states do not vary, or vary in as many directions as contexts allow, where every
        contrast is affine in them whatever they are; and as `goodness_of_fit`.
    """
    states = check_states(F)
    mass = make_design(len(states), weights=weights, n_folds=FEWEST_FOLDS).weights
    contrasts, labels = check_contrasts(Z, len(states), names)
    Q_F, scaled_F = _basis(states, mass)
    rank = Q_F.shape[1]
    if not rank:
        raise InputError("F does not vary; there is nothing to fit.")
    if rank >= len(states) - 1:
        raise InputError(
            f"F varies in {rank} directions over {len(states)} contexts, so that everything is "
            "affine in it; give more contexts, or use the held-out `goodness_of_fit`."
        )
    Q_Z, scaled_Z = _basis(contrasts, mass)
    rho = np.zeros(contrasts.shape[1])
    found = np.linalg.svd(Q_F.T @ Q_Z, compute_uv=False)
    rho[: len(found)] = np.minimum(found, 1.0)
    kept = np.square(Q_F.T @ scaled_Z).sum(axis=0)
    spread = np.square(scaled_Z).sum(axis=0)
    forward = np.square(Q_Z.T @ scaled_F).sum() / np.square(scaled_F).sum()
    return PopulationFit(
        forward=float(forward),
        backward=float(kept.sum() / spread.sum()),
        per_contrast=tuple(zip(labels, (kept / spread).tolist(), strict=True)),
        rho2=tuple(np.square(rho).tolist()),
        rank=rank,
        n=len(states),
        target=target,
        layer=layer,
    )


def independent_contrasts(Z: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> FloatArray:
    """Rotate contrasts (n, q) to their r principal directions, leaving out those without variance.

    Contrasts can be collinear in a world: where tokens are exchangeable, log-odds of the joint are
    affine in the token counts, and vary in no more directions than these. A rotation changes no
    distance, so that R²(Z|F) stays what it is, and canonical correlations are those of the span.

    Returns
    -------
    array
        (n, r), centred, in the unit of Z.

    Raises
    ------
    InputError
        If an entry is not finite or nothing varies.
    """
    values = check_states(Z, "Z")
    mass = make_design(len(values), weights=weights, n_folds=FEWEST_FOLDS).weights
    centred = values - np.average(values, axis=0, weights=mass)
    _, singular, rows = np.linalg.svd(np.sqrt(mass)[:, None] * centred, full_matrices=False)
    kept = singular > RANK_TOLERANCE * max(singular[0], np.abs(values).max())
    if not kept.any():
        raise InputError("Z does not vary with the context; there is nothing to fit.")
    return np.asarray(centred @ rows[kept].T)


def affine_residuals(y: FloatArray, X: FloatArray, weights: FloatArray) -> FloatArray:
    """Residuals (n, p) of the weighted affine fit of y (n, p) on X (n, q) of any rank."""
    root = np.sqrt(weights)[:, None]
    Q, _ = _basis(X, weights)
    scaled = root * (y - np.average(y, axis=0, weights=weights))
    return np.asarray((scaled - Q @ (Q.T @ scaled)) / root)


def exact(value: float, n: int) -> Estimate:
    """Wrap a population number of n contexts as an estimate that has no error, and no interval."""
    return Estimate(value, math.nan, math.nan, math.nan, math.nan, math.nan, n, n)


def _basis(X: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Orthonormal basis (n, rank) of the weighted, centred columns, and these columns (n, d).

    Columns are scaled alike before the rank is judged, so that it does not depend on their units.
    """
    centred = X - np.average(X, axis=0, weights=weights)
    scaled = np.sqrt(weights)[:, None] * centred
    length = np.sqrt(np.square(scaled).sum(axis=0))
    rounding = np.finfo(np.float64).eps * np.sqrt(len(X)) * np.abs(X).max(axis=0)
    varies = length > np.maximum(rounding, np.finfo(np.float64).tiny)
    if not varies.any():
        return np.empty((len(X), 0)), scaled
    U, singular, _ = np.linalg.svd(scaled[:, varies] / length[varies], full_matrices=False)
    return np.asarray(U[:, singular > RANK_TOLERANCE * singular[0]]), scaled
