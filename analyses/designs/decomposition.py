"""Step one of every held-out number: states decomposed once, for every target and every penalty.

For K folds, the map that is tested on fold k is trained on the other K − 1 folds, and its penalty
is chosen by cross-validation *among those*: fold j is predicted from the folds that are neither j
nor k. Training without {j, k} serves outer fold k and outer fold j alike, so that all nested fits
need K(K − 1)/2 + K eigendecompositions instead of K². Each serves every penalty and every
target (log-odds, posteriors, shuffled copies of both).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from concept_ppl.errors import InputError

from .arrays import FloatArray, check_states
from .design import Design, make_design
from .training_moments import HeldOut

NULL_EIGENVALUE = 1e-13


VARYING = 1e-12
"""Least variance of a direction, in units of the largest, that is no rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Eigendecomposition of the weighted, centred Gram matrix of one training set.

    Attributes
    ----------
    values
        (r,) eigenvalues, ascending; in the dual only those that are not null.
    vectors
        (d, r) orthonormal eigenvectors in the space of the states.
    mean
        (d,) weighted mean of the training rows.
    """

    values: FloatArray
    vectors: FloatArray
    mean: FloatArray

    @property
    def top(self) -> float:
        """Largest eigenvalue; 1 where the training rows do not vary, so that λ stays positive."""
        return float(self.values[-1]) if len(self.values) and self.values[-1] > 0 else 1.0

    @property
    def n_varying(self) -> int:
        """In how many directions the training rows vary, rounding aside."""
        return int(np.sum(self.values > VARYING * self.top))


@dataclass(frozen=True, slots=True, eq=False)
class DecomposedStates:
    """States ready to be regressed on: what every target and every penalty can share.

    Attributes
    ----------
    F
        (n, d) states, centred by their overall mean (a translation, for accuracy only).
    design
        Weights, clusters and folds.
    spectra
        For each set of held-out folds, (k,) or (j, k) with j < k, the remaining rows' spectrum.
    """

    F: FloatArray
    design: Design
    spectra: Mapping[HeldOut, Spectrum]


States = npt.ArrayLike | DecomposedStates


def decompose_states(
    F: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> DecomposedStates:
    """Do once the costly part of every held-out regression on the same states.

    The result takes the place of ``F`` in the other analyses, which then share it.

    Parameters
    ----------
    F
        (n, d) states.
    weights
        (n,) positive weights, for instance p(x); equal by default.
    clusters
        (n,) labels of the independent units; each row its own by default.
    n_folds, seed
        Folds, cluster-disjoint, drawn from the seed.

    Raises
    ------
    InputError
        If an entry is not finite, no column varies, lengths differ or clusters are too few.
    """
    states = check_states(F)
    if not np.any(np.ptp(states, axis=0) > 0):
        raise InputError("F does not vary: every row is the same state.")
    design = make_design(
        len(states), weights=weights, clusters=clusters, n_folds=n_folds, seed=seed
    )
    return decompose(states, design)


def as_decomposed(
    F: States,
    weights: npt.ArrayLike | None,
    clusters: npt.ArrayLike | None,
    n_folds: int,
    seed: int,
) -> DecomposedStates:
    """Decompose states unless the caller has done so, with weights and clusters, before."""
    if not isinstance(F, DecomposedStates):
        return decompose_states(F, weights=weights, clusters=clusters, n_folds=n_folds, seed=seed)
    if weights is not None or clusters is not None:
        raise InputError(
            "F is decomposed already, with its own weights and clusters; "
            "pass them to decompose_states instead."
        )
    return F


def on_same_design(F: States, design: Design, name: str = "F2") -> DecomposedStates:
    """Decompose a second model's states on the design of the first, unless the caller has."""
    if isinstance(F, DecomposedStates):
        if not F.design.same_as(design):
            raise InputError(
                f"{name} was decomposed with other weights, clusters or folds than F1."
            )
        return F
    states = check_states(F, name)
    if len(states) != design.n:
        raise InputError(
            f"{name} has {len(states)} rows, F1 has {design.n}; give the same contexts."
        )
    if not np.any(np.ptp(states, axis=0) > 0):
        raise InputError(f"{name} does not vary: every row is the same state.")
    return decompose(states, design)


def decompose(F: FloatArray, design: Design) -> DecomposedStates:
    """Spectra of all training sets that nested tuning over the design's folds needs."""
    F = F - np.average(F, axis=0, weights=design.weights)
    singles: list[HeldOut] = [(k,) for k in range(design.n_folds)]
    pairs: list[HeldOut] = list(combinations(range(design.n_folds), 2))
    grams: dict[int, FloatArray] = {}
    spectra = {out: training_spectrum(F, design, out, grams) for out in singles + pairs}
    return DecomposedStates(F, design, spectra)


def training_spectrum(
    F: FloatArray, design: Design, held_out: HeldOut, grams: dict[int, FloatArray]
) -> Spectrum:
    """Eigendecompose from the primal (d × d) or the dual (n × n) side, whichever is smaller."""
    rows = ~np.isin(design.folds, held_out)
    weights = design.weights[rows]
    mean = weights @ F[rows] / weights.sum()
    if len(weights) >= F.shape[1]:
        gram = sum(
            (_fold_gram(F, design, k, grams) for k in range(design.n_folds) if k not in held_out),
            start=-weights.sum() * np.outer(mean, mean),
        )
        values, vectors = np.linalg.eigh(gram)
        return Spectrum(np.maximum(values, 0.0), vectors, mean)
    X = (F[rows] - mean) * np.sqrt(weights)[:, None]
    values, left = np.linalg.eigh(X @ X.T)
    kept = values > NULL_EIGENVALUE * max(values[-1], 0.0)
    vectors = X.T @ (left[:, kept] / np.sqrt(values[kept]))
    return Spectrum(values[kept], vectors, mean)


def _fold_gram(
    F: FloatArray, design: Design, fold: int, grams: dict[int, FloatArray]
) -> FloatArray:
    """Weighted cross-product of one fold's rows, computed once and then subtracted and added."""
    if fold not in grams:
        rows = design.folds == fold
        X = F[rows] * np.sqrt(design.weights[rows])[:, None]
        grams[fold] = X.T @ X
    return grams[fold]
