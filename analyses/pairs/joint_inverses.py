"""Do weights that are fitted for all concepts at once invert their offsets: how far is W A from I?

Within a set of independent concepts the weights W = G⁻¹ A, A the mean differences of one half in
its whitened space and G their Gram matrix, give W A = I on the half that made them, whatever the
data. On the other half they do so only if both halves have the same offsets.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, check_level
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, bare_estimate
from concept_ppl.errors import InputError

from .designs import BoolArray, PairDesign
from .intervals import influence_error, plain_estimate
from .scores import check_word_states, training_pairs
from .weights import TrainingPairs, concept_means, whitening

LEAST_EIGENVALUE = 0.02
"""Of G, as a share of its largest: a Gram matrix that was freed of noise may not be positive."""


MOST_NOISE = 0.5
"""Root mean square per concept of the entries' standard errors: past it, no distance is told."""


@dataclass(frozen=True, slots=True, eq=False)
class JointInverse(Result):
    """Joint weights of one half times mean differences of the other.

    Attributes
    ----------
    entries
        ``entries[j][k]``: weights of j, differences of k, on their natural scale (1 on the diagonal
        and 0 off it would be the identity); p-value of the null of zero, not adjusted.
    distance
        Root mean square, per concept, of W A − I in the Frobenius norm, freed of sampling noise: 0
        for the identity, 1 for weights that give nothing. NaN where the entries are so unsure that
        nothing can be said of it.
    mean_diagonal, mean_off_diagonal
        Mean of the diagonal; mean magnitude off it, a description.
    names, layer, control
        Of the independent concepts; labels that the caller gave.
    """

    entries: tuple[tuple[Estimate, ...], ...]
    distance: Estimate
    mean_diagonal: Estimate
    mean_off_diagonal: float
    names: tuple[str, ...]
    layer: str
    control: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Joint inverse, held out"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"Joint inverse over {len(self.names)} independent concepts"

    def rows(self) -> Iterator[Row]:
        """Distance, means and entries, a row each; p-values not adjusted."""

        def row(quantity: str, term: str, value: Estimate) -> Row:
            return Row("joint_inverse", quantity, term, value, self.layer, self.control)

        mean = self.mean_diagonal
        yield row("distance_from_identity", "", self.distance)
        yield row("mean_diagonal", "", mean)
        off = bare_estimate(self.mean_off_diagonal, mean.ci_level, mean.n, mean.n_clusters)
        yield row("mean_off_diagonal", "", off)
        for name, entries in zip(self.names, self.entries, strict=True):
            for other, value in zip(self.names, entries, strict=True):
                yield row("entry", f"{name} | {other}", value)

    def lines(self) -> list[str]:
        """Say the distance and list the diagonal."""
        return [f"  {name}  {value}" for name, value in self._entries()]

    def panel(self) -> Panel:
        """Forest plot of the distance and the diagonal."""
        return forest(self._entries(), "held out")

    def _entries(self) -> list[tuple[str, Estimate]]:
        diagonal = [row[k] for k, row in enumerate(self.entries)]
        named = zip(self.names, diagonal, strict=True)
        return [("distance from I", self.distance), ("mean", self.mean_diagonal), *named]


def joint_inverse(
    F: npt.ArrayLike,
    design: PairDesign,
    independent: Sequence[str],
    *,
    layer: str = "",
    control: str = "",
    level: float = 0.95,
) -> JointInverse:
    """Fit joint weights to one half and multiply them with the offsets of the other.

    G is made of products of pairs that share no word, so that the noise of the offsets, which in
    wide states is larger than they are, does not shrink the weights.

    Parameters
    ----------
    F, design
        As in `counterfactual_matrix`.
    independent
        Names of the concepts, from `offset_span`.
    layer, control, level
        Labels, and the confidence level.

    Raises
    ------
    InputError
        If a name is unknown, fewer than two are given, or an array is not finite.
    """
    check_level(level)
    unknown = [name for name in independent if name not in design.names]
    if unknown or len(set(independent)) < 2:
        raise InputError(
            f"independent must name two or more concepts of the design; got "
            f"{', '.join(independent) or 'none'}."
        )
    states = check_word_states(F, design)
    kept = np.array([design.names.index(name) for name in dict.fromkeys(independent)])
    table = np.zeros((len(kept), len(kept)))
    influence = np.zeros((design.n_components, len(kept), len(kept)))
    n_halves = 2 * len(design.halves)
    for half in design.halves:
        for training in (half, ~half):
            entries, moved = _one_half(states, design, kept, training)
            table += entries / n_halves
            influence += moved / n_halves
    return _answer(table, influence, design, kept, (layer, control), level)


def _one_half(
    F: FloatArray, design: PairDesign, kept: IntArray, training: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Entries (q, q) of one half's weights, and the influence (n_components, q, q) of each unit."""
    chosen = np.isin(design.concept, kept)
    inside, outside = (np.flatnonzero(side & chosen) for side in (training, ~training))
    ours = _renumbered(training_pairs(F, design, np.flatnonzero(training)), kept)
    spread = training_pairs(F, design, np.flatnonzero(training))
    residuals = spread.differences - concept_means(spread, spread.differences)[spread.concept]
    whiten = whitening(residuals)
    judged = _renumbered(training_pairs(F, design, np.flatnonzero(~training)), kept)
    v, t = whiten(ours.differences), whiten(judged.differences)
    offsets = concept_means(ours, v)
    targets = concept_means(judged, t)
    gram, cross = _noise_free_gram(v, ours)
    inverse = np.linalg.inv(_positive(gram))
    entries = inverse @ (offsets @ targets.T)
    influence = np.zeros((design.n_components, len(kept), len(kept)))
    counts = np.bincount(judged.concept, minlength=len(kept))[judged.concept]
    scores = (t @ offsets.T) @ inverse
    as_judged = (scores - entries[:, judged.concept].T) / counts[:, None]
    unit = (design.component[outside], judged.concept)
    np.add.at(influence.transpose(0, 2, 1), unit, as_judged)
    # W = G⁻¹ A: a training pair moves its concept's row of A, and its row and column of G.
    mine = ours.concept
    n = np.bincount(mine, minlength=len(kept))[mine]
    x = (cross - gram[mine]) / n[:, None]
    y = ((v - offsets[mine]) @ targets.T) / n[:, None]
    moved = inverse[:, mine].T[:, :, None] * (y - x @ entries)[:, None, :]
    moved -= (x @ inverse)[:, :, None] * entries[mine][:, None, :]
    np.add.at(influence, design.component[inside], moved)
    return entries, influence


def _renumbered(pairs: TrainingPairs, kept: IntArray) -> TrainingPairs:
    """Keep the pairs of some concepts, numbered in the order of ``kept``."""
    position = np.full(pairs.n_concepts, -1)
    position[kept] = np.arange(len(kept))
    own = position[pairs.concept] >= 0
    return TrainingPairs(
        pairs.first[own],
        pairs.second[own],
        position[pairs.concept[own]],
        pairs.component[own],
        len(kept),
    )


def _noise_free_gram(v: FloatArray, pairs: TrainingPairs) -> tuple[FloatArray, FloatArray]:
    """Products of differences v (n, d) of pairs of different units, averaged.

    Returns
    -------
    gram
        (q, q) by the concepts of both pairs.
    cross
        (n, q) of each pair with those of each concept.
    """
    member = np.zeros((len(v), pairs.n_concepts))
    member[np.arange(len(v)), pairs.concept] = 1.0
    apart = (pairs.component[:, None] != pairs.component[None, :]).astype(np.float64)
    products = (v @ v.T) * apart
    times = apart @ member
    cross = products @ member
    gram = (member.T @ cross) / np.maximum(member.T @ times, 1.0)
    return gram, cross / np.maximum(times, 1.0)


def _positive(gram: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(gram)
    floor = max(LEAST_EIGENVALUE * float(np.abs(values).max()), np.finfo(np.float64).tiny)
    return np.asarray((vectors * np.maximum(values, floor)) @ vectors.T)


def _answer(
    table: FloatArray,
    influence: FloatArray,
    design: PairDesign,
    kept: IntArray,
    labels: tuple[str, str],
    level: float,
) -> JointInverse:
    q = len(kept)
    chosen = np.isin(design.concept, kept)
    n, units = int(chosen.sum()), len(np.unique(design.component[chosen]))
    entries = tuple(
        tuple(
            plain_estimate(float(table[j, k]), influence[:, j, k], level, n, units)
            for k in range(q)
        )
        for j in range(q)
    )
    error = table - np.eye(q)
    variances = np.nan_to_num([[value.std_error**2 for value in row] for row in entries])
    square = float((np.square(error) - variances).sum()) / q
    if variances.sum() / q > MOST_NOISE**2:
        square = math.nan
    moved = 2.0 * np.einsum("gjk,jk->g", influence, error) / q
    flat = influence.reshape(len(influence), -1)
    curved = 2.0 * float(np.square(flat @ flat.T).sum()) / q**2
    off = table[~np.eye(q, dtype=bool)]
    return JointInverse(
        entries,
        _root(square, moved, curved, level, n, units),
        plain_estimate(
            float(np.trace(table)) / q,
            np.einsum("gjj->g", influence) / q,
            level,
            n,
            units,
        ),
        float(np.abs(off).mean()),
        tuple(design.names[k] for k in kept),
        *labels,
    )


def _root(
    square: float, moved: FloatArray, curved: float, level: float, n: int, units: int
) -> Estimate:
    """Root of a square that noise may have made negative, its interval from that of the square.

    The variance of a sum of squares has a part of first order, from the influence ``moved``, and
    one of second order, ``curved`` = 2 tr V², which alone is left where the distance is zero.
    """
    error, df = influence_error(moved)
    if math.isnan(square) or math.isnan(error):
        return bare_estimate(math.nan, level, n, units)
    reach = float(special.stdtrit(df, 0.5 + level / 2.0)) * math.sqrt(error**2 + curved)
    root, low, high = (math.sqrt(max(x, 0.0)) for x in (square, square - reach, square + reach))
    spread = math.sqrt(error**2 + curved) / (2.0 * root) if root > 0 else math.nan
    return Estimate(root, spread, low, high, level, math.nan, n, units, df)
