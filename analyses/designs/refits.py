"""What would the held-out numbers be under other weights: refits that cost one Gram matrix each.

A refit reweights the rows and does everything again: centring, nested choice of every penalty, maps
and canonical directions. Folds stay, so that no cluster is ever in two. The weighted Gram matrix of
[1, Z, F] is formed once a fold; that of any training set is the total less the folds held out, and
each penalty is one Cholesky factorisation of it. Held-out residuals are taken row by row, not from
cross-products, so that an R² near one keeps its digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import linalg

from concept_ppl.errors import InputError

from .arrays import FloatArray, IntArray
from .correlations import signed_square
from .cross_fits import PENALTIES
from .decomposition import DecomposedStates
from .training_moments import HeldOut

BoolArray = npt.NDArray[np.bool_]

SLACK = 0.01

QUANTITIES = ("r2_forward", "r2_backward", "rho2_smallest", "rho2_mean")
"""What a refit yields, in this order; `goodness` and `canonical` say what they mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Refitter:
    """Rows dealt to folds, and the penalties among which a refit chooses again.

    Attributes
    ----------
    rows
        For each of K folds, the indices (n_k,) of its rows.
    blocks
        For each fold, (n_k, 1 + q + d): ones, contrasts and states; wider than n, the states are in
        their n principal coordinates, which no ridge regression can tell from the states.
    n_contrasts
        q.
    tops
        For each set of held-out folds the (d,) first principal axis of the other rows. Penalties
        are in units of the variance along it: at the sample's own weights, the top eigenvalue.
    tried
        (K, L) which of the L `PENALTIES` each outer fold tries.
    """

    rows: tuple[IntArray, ...]
    blocks: tuple[FloatArray, ...]
    n_contrasts: int
    tops: dict[HeldOut, FloatArray]
    tried: BoolArray


def make_refitter(states: DecomposedStates, Z: FloatArray, slack: float = SLACK) -> Refitter:
    """Prepare refits of decomposed states and checked contrasts (n, q).

    Parameters
    ----------
    states, Z
        As for `goodness_of_fit` and `canonical_correlations`.
    slack
        Refits try penalties whose inner loss in the sample is at most 1 + slack times the least
        and their neighbours in the grid; infinity for the whole grid.

    Raises
    ------
    InputError
        If there are more contrasts than coordinates of F.
    """
    if Z.shape[1] > states.width:
        raise InputError(
            f"Z has {Z.shape[1]} contrasts, F only {states.width} coordinates; no linear map "
            "between them can be invertible."
        )
    design, F = states.design, states.F
    basis = np.eye(F.shape[1])
    if F.shape[1] > design.n:
        values, left = np.linalg.eigh(F @ F.T)
        kept = values > np.finfo(np.float64).eps * values[-1] * design.n
        basis = F.T @ (left[:, kept] / np.sqrt(values[kept]))
        F = F @ basis
    columns = np.hstack([np.ones((design.n, 1)), Z - Z.mean(axis=0), F])
    rows = tuple(np.flatnonzero(design.folds == k) for k in range(design.n_folds))
    tops = {out: basis.T @ side.leading(1)[1][:, -1] for out, side in states.spectra.items()}
    everything = np.ones((design.n_folds, len(PENALTIES)), dtype=bool)
    blocks = tuple(columns[members] for members in rows)
    refitter = Refitter(rows, blocks, Z.shape[1], tops, everything)
    return replace(refitter, tried=_worth_trying(refitter, design.weights, slack))


def _worth_trying(refitter: Refitter, weights: FloatArray, slack: float) -> BoolArray:
    """Penalties whose inner loss is near the least, for Z or for Z whitened, and their neighbours.

    Without a relation the loss is flat, and refits must be free to wander far.
    """
    losses = _inner_losses(refitter, *_fold_moments(refitter, weights))
    near = (losses <= (1.0 + slack) * losses.min(axis=2, keepdims=True)).any(axis=0)
    tried = near.copy()
    tried[:, 1:] |= near[:, :-1]
    tried[:, :-1] |= near[:, 1:]
    return np.asarray(tried)


def refit(refitter: Refitter, weights: FloatArray) -> FloatArray:
    """Fit, tune and test again under positive weights (n,); returns the four `QUANTITIES`."""
    masses, sums, total = _fold_moments(refitter, weights)
    forward = _forward_share(sums, total, refitter.n_contrasts)
    return np.array([forward, *_from_states(refitter, masses, sums, total)])


@dataclass(frozen=True, slots=True, eq=False)
class _Training:
    """Moments of a training set: means (q,) and (d,), and centred cross-products."""

    mass: float
    Z_mean: FloatArray
    F_mean: FloatArray
    ZZ: FloatArray
    FZ: FloatArray
    FF: FloatArray

    def slopes(self, penalty: float) -> FloatArray:
        """Ridge coefficients (d, q) of the contrasts on the states."""
        gram = self.FF.copy()
        gram.flat[:: len(gram) + 1] += penalty
        factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(linalg.cho_solve(factor, self.FZ, check_finite=False))

    def residuals(self, block: FloatArray, slopes: FloatArray) -> FloatArray:
        """Contrasts (n_k, q) of held-out rows less their predictions."""
        q = len(self.Z_mean)
        intercept = self.Z_mean - self.F_mean @ slopes
        return np.asarray(block[:, 1 : 1 + q] - block[:, 1 + q :] @ slopes - intercept)


def _from_states(
    refitter: Refitter, masses: list[FloatArray], sums: list[FloatArray], total: FloatArray
) -> tuple[float, float, float]:
    """Backward R², smallest and mean ρ²."""
    q = refitter.n_contrasts
    plain, white = _inner_losses(refitter, masses, sums, total).argmin(axis=2)
    sse = sst = 0.0
    products = np.zeros((3, q))
    for k, (block, mass) in enumerate(zip(refitter.blocks, masses, strict=True)):
        training = _training(total - sums[k], q)
        unit = _unit(training, refitter.tops[k,])
        Z = block[:, 1 : 1 + q] - training.Z_mean
        slopes = training.slopes(PENALTIES[plain[k]] * unit)
        sse += float(mass @ np.square(training.residuals(block, slopes)).sum(axis=1))
        sst += float(mass @ np.square(Z).sum(axis=1))
        if white[k] != plain[k]:
            slopes = training.slopes(PENALTIES[white[k]] * unit)
        W = _whitener(training)
        _, V = np.linalg.eigh(W.T @ training.FZ.T @ slopes @ W)
        D = W @ V[:, ::-1]
        fitted = slopes @ D
        size = np.sqrt(np.einsum("ij,ij->j", fitted, training.FF @ fitted) / training.mass)
        a = (block[:, 1 + q :] - training.F_mean) @ (fitted / size)
        b = Z @ D * np.sqrt(training.mass)
        products += mass @ np.stack([a * b, a * a, b * b])
    rho = products[0] / np.sqrt(products[1] * products[2])
    shares = [signed_square(r) for r in rho]
    return 1.0 - sse / sst, shares[-1], float(np.mean(shares))


def _inner_losses(
    refitter: Refitter, masses: list[FloatArray], sums: list[FloatArray], total: FloatArray
) -> FloatArray:
    """Loss of each penalty inside the training folds of each outer fold: for Z, and for Z whitened.

    (2, K, L), infinite where not tried. Second moments of inner held-out residuals serve both.
    """
    n_folds, q = len(sums), refitter.n_contrasts
    losses = np.where(refitter.tried, 0.0, np.inf)[None].repeat(2, axis=0)
    whiteners = [_whitener(_training(total - sums[k], q, states=False)) for k in range(n_folds)]
    for j, k in combinations(range(n_folds), 2):
        training = _training(total - sums[j] - sums[k], q)
        unit = _unit(training, refitter.tops[j, k])
        for step in np.flatnonzero(refitter.tried[j] | refitter.tried[k]):
            slopes = training.slopes(PENALTIES[step] * unit)
            for outer, inner in ((j, k), (k, j)):
                residuals = training.residuals(refitter.blocks[inner], slopes)
                second = residuals.T @ (residuals * masses[inner][:, None])
                W = whiteners[outer]
                losses[0, outer, step] += np.trace(second)
                losses[1, outer, step] += np.sum(W * (second @ W))
    return losses


def _forward_share(sums: list[FloatArray], total: FloatArray, q: int) -> float:
    """R²(F|Z): q regressors, so that every penalty costs q² once products with F are formed."""
    folds = range(len(sums))
    losses = np.zeros((len(sums), len(PENALTIES)))
    for j, k in combinations(folds, 2):
        at_j, at_k = _forward_errors(total - sums[j] - sums[k], (sums[j], sums[k]), q)
        losses[k] += at_j[0]
        losses[j] += at_k[0]
    chosen = losses.argmin(axis=1)
    outer = [_forward_errors(total - sums[k], (sums[k],), q)[0] for k in folds]
    sse = sum(errors[chosen[k]] for k, (errors, _) in enumerate(outer))
    return float(1.0 - sse / sum(spread for _, spread in outer))


def _forward_errors(
    training: FloatArray, tests: Sequence[FloatArray], q: int
) -> list[tuple[FloatArray, float]]:
    """Squared error of F given Z under every penalty (L,), and given the mean, for each fold."""
    mean = training[0, 1:] / training[0, 0]
    Z_mean, F_mean = mean[:q], mean[q:]
    known = training[1 : 1 + q, 1:] - training[0, 0] * np.outer(Z_mean, mean)
    values, U = np.linalg.eigh(known[:, :q])
    scores = U.T @ known[:, q:]
    power = scores @ scores.T
    shrink = 1.0 / (np.maximum(values, 0.0) + PENALTIES[:, None] * values[-1])
    found = []
    for test in tests:
        mass, sums = test[0, 0], test[0, 1:]
        new = test[1 : 1 + q, 1:] - np.outer(Z_mean, sums)
        new -= np.outer(sums[:q] - mass * Z_mean, mean)
        spread = np.trace(test[1 + q :, 1 + q :]) - 2.0 * F_mean @ sums[q:]
        spread = float(spread + mass * F_mean @ F_mean)
        linear = np.einsum("ad,ad->a", scores, U.T @ new[:, q:])
        quadratic = (U.T @ new[:, :q] @ U) * power
        explained = 2.0 * shrink @ linear - np.sum((shrink @ quadratic) * shrink, axis=1)
        found.append((spread - explained, spread))
    return found


def _fold_moments(
    refitter: Refitter, weights: FloatArray
) -> tuple[list[FloatArray], list[FloatArray], FloatArray]:
    """Weights and cross-products of each fold, and the sum of the latter."""
    masses = [weights[rows] for rows in refitter.rows]
    sums = [_cross_products(*pair) for pair in zip(refitter.blocks, masses, strict=True)]
    return masses, sums, np.sum(sums, axis=0)


def _cross_products(block: FloatArray, mass: FloatArray) -> FloatArray:
    """Return the weighted Gram matrix of one fold's rows."""
    X = block * np.sqrt(mass)[:, None]
    return X.T @ X


def _training(sums: FloatArray, q: int, *, states: bool = True) -> _Training:
    """Centre the cross-products of a training set, those among the states only where asked."""
    mass, mean = float(sums[0, 0]), sums[0, 1:] / sums[0, 0]
    Z, F = slice(1, 1 + q), slice(1 + q, None)
    Z_mean, F_mean = mean[:q], mean[q:]
    FF = sums[F, F] - mass * np.outer(F_mean, F_mean) if states else np.empty((0, 0))
    return _Training(
        mass,
        Z_mean,
        F_mean,
        sums[Z, Z] - mass * np.outer(Z_mean, Z_mean),
        sums[F, Z] - mass * np.outer(F_mean, Z_mean),
        FF,
    )


def _unit(training: _Training, top: FloatArray) -> float:
    """Variance along the sample's first axis; 1 where the rows do not vary, so that λ > 0."""
    along = float(top @ training.FF @ top)
    return along if along > 0 else 1.0


def _whitener(training: _Training) -> FloatArray:
    """Return W (q, q) with W' ZZ W = I."""
    factor = linalg.cholesky(training.ZZ, lower=True)
    return np.asarray(linalg.solve_triangular(factor, np.eye(len(factor)), lower=True).T)
