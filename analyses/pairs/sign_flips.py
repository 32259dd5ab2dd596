"""What would an entry be if second and first words were exchangeable: signs flipped, unit by unit.

Where the two words of a pair can be told apart by nothing, second minus first has the
distribution of first minus second, and so has every set of pairs that share words when all its
signs change together. Flipping each unit at random therefore gives draws from the null (Romano
1990, https://doi.org/10.1080/01621459.1990.10474928), of statistics that are made anew from the
flipped differences, weights included. A metric (whitening, say) counts as given.

With n units there are 2^(n−1) different answers on the diagonal, since flipping all of them
changes nothing: no p-value can lie below 2^(1−n).
"""

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray

from .designs import PairDesign
from .scores import JudgedPairs

NULL_QUANTILE = 0.95
CANCELLED = 1e-6
"""Least square of a sum of vectors, in units of the sum of their squares, that single precision
tells from zero; random signs give about 1."""


def flip_signs(n_components: int, n_flips: int, seed: int) -> npt.NDArray[np.float32]:
    """Return random signs (n_components, n_flips), ±1: a unit's lie together, as they are read."""
    rng = np.random.default_rng(seed)
    coins = rng.integers(0, 2, size=(n_components, n_flips), dtype=np.int8)
    return (2 * coins - 1).astype(np.float32)


def smallest_p_value(n_components: int) -> float:
    """Smallest p-value that flips of this many units can give."""
    return 2.0 ** (1 - n_components)


class FlippedEntries:
    """Adds up, over halves, the diagonal entries under flipped signs, and as observed.

    Attributes
    ----------
    signs
        (n_components, n_flips).
    null
        (n_flips, n_concepts) entries under flips.
    observed
        (n_concepts,) the same sums without a flip.
    n_added
        How many halves were added.
    """

    def __init__(self, signs: npt.NDArray[np.float32], design: PairDesign) -> None:
        self.signs, self.design = signs, design
        self.null = np.zeros((signs.shape[1], design.n_concepts), dtype=np.float32)
        self.observed = np.zeros(design.n_concepts, dtype=np.float32)
        self.n_added = 0

    def add(self, judged: JudgedPairs, contributions: FloatArray) -> None:
        """Add the mean cosines of weights made of flipped pairs with flipped new pairs.

        With signs σ, the weights are Σ σ_g r_g up to length, and a concept's entry gains
        Σ_i σ_i v_i · Σ_g σ_g r_g / (n |Σ_g σ_g r_g|): products of signs with two small matrices.

        Parameters
        ----------
        judged
            The two halves.
        contributions
            (n_inside, d) of the training pairs: the weights of a concept are their mean.
        """
        inside, outside, unit = judged.inside, judged.outside, judged.unit
        design = self.design
        for k in range(design.n_concepts):
            mine = np.flatnonzero(design.concept[inside] == k)
            others = np.flatnonzero(design.concept[outside] == k)
            if not len(mine) or not len(others):
                continue
            r = contributions[mine]
            inner = (r @ r.T).astype(np.float32)
            cross = (r @ unit[others].T).astype(np.float32) / design.pairs_of_concept[k]
            units = [design.component[inside[mine]], design.component[outside[others]]]
            self.null[:, k] += _cosines(inner, cross, *(self.signs[own] for own in units))
            ones = [np.ones((len(own), 1), dtype=np.float32) for own in units]
            self.observed[k] += _cosines(inner, cross, *ones)[0]
        self.n_added += 1


def _cosines(
    inner: npt.NDArray[np.float32],
    cross: npt.NDArray[np.float32],
    training: npt.NDArray[np.float32],
    judged: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    products = np.einsum("if,if->f", cross.T @ training, judged)
    squares = np.einsum("if,if->f", inner @ training, training)
    safe = squares > CANCELLED * np.trace(inner)  # or the terms cancelled: no direction is left
    lengths = np.sqrt(np.where(safe, squares, 1.0))
    return np.where(safe, products / lengths, np.float32(0.0))


def flipped_diagonal(flips: FlippedEntries) -> tuple[FloatArray, FloatArray, float]:
    """Return p-values and .95 null quantiles (n_concepts,) of the diagonal, and p of its mean.

    One-sided: weights that point against new pairs are no evidence for a concept.
    """
    halves = len(flips.design.halves)
    null, observed = flips.null / halves, flips.observed / halves
    p_values = _tail(null, observed)
    quantiles = np.quantile(null, NULL_QUANTILE, axis=0)
    mean = _tail(null.mean(axis=1, keepdims=True), observed.mean(keepdims=True))
    return p_values, np.asarray(quantiles, dtype=np.float64), float(mean[0])


def null_quantiles(
    signs: npt.NDArray[np.float32], cosines: FloatArray, design: PairDesign
) -> FloatArray:
    """Return .95 quantiles (j, k) of the magnitude of entries under flips, weights as they are.

    Parameters
    ----------
    signs
        (n_components, n_flips).
    cosines
        (n_pairs, n_concepts) of each pair's difference with the weights of each concept.
    """
    quantiles = np.zeros((design.n_concepts, design.n_concepts))
    for k in range(design.n_concepts):
        own = np.flatnonzero(design.concept == k)
        units, unit = np.unique(design.component[own], return_inverse=True)
        sums = np.zeros((len(units), design.n_concepts), dtype=np.float32)
        np.add.at(sums, unit, (cosines[own] / len(own)).astype(np.float32))
        null = np.abs(sums.T @ signs[units])
        quantiles[:, k] = np.quantile(null, NULL_QUANTILE, axis=1)
    return quantiles


def _tail(null: npt.NDArray[np.floating], observed: npt.NDArray[np.floating]) -> FloatArray:
    # Sums in another order differ in the last bits: what is equal up to rounding counts as equal.
    reached = null >= observed - 1e-5 * np.maximum(np.abs(observed), 1e-3)
    return np.asarray((1.0 + reached.sum(axis=0)) / (1.0 + len(null)))
