"""Along which directions do two sets of states vary together: canonical variates, held out."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.decomposition import DecomposedStates
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.training_moments import HeldOut
from concept_ppl.errors import InputError

RANKS: IntArray = 2 ** np.arange(11)
"""Numbers of principal components tried."""

FEWEST_ROWS_A_RANK = 3
NULL_VARIANCE = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class SharedDirections:
    """Held-out canonical variates of two sets of states, strongest training direction first.

    Attributes
    ----------
    a, b
        (n, p) variates of the first and second states, with mean 0 and variance 1 in the training
        folds. The sign of a direction is arbitrary in each fold, the same for both.
    ranks
        How many principal components of each, at most, the training folds chose, one number a
        fold; states that vary in fewer directions keep all.
    """

    a: FloatArray
    b: FloatArray
    ranks: tuple[int, ...]


def shared_directions(
    first: DecomposedStates, second: DecomposedStates, n_directions: int
) -> SharedDirections:
    """Canonical variates between principal components of the training folds, read on test folds.

    The number of components is nested: the one with the greatest mean correlation of the
    ``n_directions`` variates in inner held-out folds.

    Parameters
    ----------
    first, second
        States decomposed on the same design.
    n_directions
        p.

    Raises
    ------
    InputError
        If some training set varies in fewer than p directions.
    """
    design = first.design
    folds = range(design.n_folds)
    scores: dict[int, list[float]] = {k: [] for k in folds}
    widths = _widest(first, n_directions), _widest(second, n_directions)
    between = RANKS[(n_directions < RANKS) & (max(widths) > RANKS)].tolist()
    ranks = sorted({n_directions, *between, max(widths)})
    for j, k in combinations(folds, 2):
        components = _whitened(first, (j, k), widths[0]), _whitened(second, (j, k), widths[1])
        for rank in ranks:
            a, b = _variates(design, (j, k), components, rank, n_directions)
            for outer, inner in ((j, k), (k, j)):
                rows = design.folds == inner
                scores[outer].append(mean_correlation(a[rows], b[rows], design.weights[rows]))
    a_out, b_out = np.empty((2, design.n, n_directions))
    chosen = []
    for k in folds:
        rank = ranks[int(np.reshape(scores[k], (-1, len(ranks))).sum(axis=0).argmax())]
        components = _whitened(first, (k,), widths[0]), _whitened(second, (k,), widths[1])
        a, b = _variates(design, (k,), components, rank, n_directions)
        rows = design.folds == k
        a_out[rows], b_out[rows] = a[rows], b[rows]
        chosen.append(rank)
    return SharedDirections(a_out, b_out, tuple(chosen))


def _widest(states: DecomposedStates, least: int) -> int:
    """How many components every training set supports: those that vary, a few rows for each."""
    widest: int = states.width
    for out, side in states.spectra.items():
        spectrum = side.full()
        varying = int(np.sum(spectrum.values > NULL_VARIANCE * spectrum.top))
        if varying < least:
            raise InputError(
                f"States vary in only {varying} directions without the rows of some folds; "
                f"n_directions is {least}, ask for fewer."
            )
        rows = int(np.sum(~np.isin(states.design.folds, out)))
        widest = min(widest, varying, max(least, rows // FEWEST_ROWS_A_RANK))
    return widest


def _whitened(states: DecomposedStates, out: HeldOut, rank: int) -> FloatArray:
    """Leading principal components (n, rank) of all rows, of unit variance in the training set."""
    spectrum = states.spectra[out].full()
    mass = states.design.weights[~np.isin(states.design.folds, out)].sum()
    leading = spectrum.vectors[:, ::-1][:, :rank] / np.sqrt(spectrum.values[::-1][:rank] / mass)
    return np.asarray(states.rows.times(leading) - spectrum.mean @ leading)


def _variates(
    design: Design,
    out: HeldOut,
    components: tuple[FloatArray, FloatArray],
    rank: int,
    n_directions: int,
) -> tuple[FloatArray, FloatArray]:
    """Canonical variates of all rows, fitted on the training set alone."""
    x, y = (part[:, :rank] for part in components)
    train = ~np.isin(design.folds, out)
    weights = design.weights[train]
    U, _, Vt = np.linalg.svd(x[train].T @ (y[train] * weights[:, None]), full_matrices=False)
    return x @ U[:, :n_directions], y @ Vt[:n_directions].T


def mean_correlation(a: FloatArray, b: FloatArray, weights: FloatArray) -> float:
    """Correlations about zero of the columns of a and b (n, p), averaged over the columns."""
    size = np.sqrt((weights @ a**2) * (weights @ b**2))
    return float(np.mean(weights @ (a * b) / size))
