"""Planted worlds and what must be said of them: does the right verdict come out?

Four worlds of 400 contexts, three contrasts and eight coordinates: states that are an affine image
of the contrasts with all ρ² = .99; the same with one direction lost; a bent image; and noise. Each
test behind a verdict errs in one run of a hundred (level .99): at .95, with several tests to a
verdict, no method could be right in 95% of runs.
"""

from dataclasses import dataclass

import numpy as np
from validity_worlds import Array

from concept_ppl.analyses import equivalence, invertibility, linearity
from concept_ppl.analyses.designs.decomposition import DecomposedStates

WORLDS = ("linear and invertible", "rank-deficient", "curved", "noise only")
N, Q, D = 400, 3, 8
RHO2 = 0.99
BEND = 0.5
LEVEL = 0.99


@dataclass(frozen=True)
class Planted:
    """One of `WORLDS`; its name stands where that of a cell of the grid would."""

    name: str

    def __str__(self) -> str:
        return f"planted/{self.name}"


def plant(world: Planted, seed: int) -> tuple[Array, Array]:
    """States (n, d) and contrasts (n, q) of one sample, both turned at random."""
    rng = np.random.default_rng(seed)
    Z, F = rng.normal(size=(N, Q)), rng.normal(size=(N, D))
    signal = Z.copy()
    if world.name == "rank-deficient":
        signal[:, -1] = rng.normal(size=N)
    if world.name == "curved":
        signal = Z + BEND * np.square(Z)
    if world.name != "noise only":
        F[:, :Q] = np.sqrt(RHO2) * signal + np.sqrt(1.0 - RHO2) * F[:, :Q]
    turns = [np.linalg.qr(rng.normal(size=(width, width)))[0] for width in (D, Q)]
    return F @ turns[0], Z @ turns[1]


def is_right(world: Planted, states: DecomposedStates, Z: Array, seed: int) -> bool:
    """Whether every verdict about one sample is the right one."""
    claim = equivalence(states, Z, level=LEVEL)
    rank = invertibility(states, Z, level=LEVEL).estimated_rank
    shape = linearity(states, Z, seed=seed, level=LEVEL).verdict.split(":")[0]
    return {
        "linear and invertible": claim.shown and rank == Q and shape == "affine",
        "rank-deficient": not claim.shown and rank == Q - 1,
        "curved": not claim.shown and shape == "curved",
        "noise only": not claim.shown and rank == 0 and shape == "no relation",
    }[world.name]
