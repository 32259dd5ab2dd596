"""What the weights of one half of the words say of the pairs in the other, added up over splits."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, check_states
from concept_ppl.errors import InputError

from .designs import PairDesign
from .weights import TrainingPairs

ROUNDING = 1e-12
"""Weights shorter than this share of the longest have no direction: their terms cancelled."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPairs:
    """Pairs of one half as the weights of the other see them.

    Attributes
    ----------
    inside, outside
        Numbers of the training pairs (n,) and of the judged pairs (m,).
    unit
        (m, d) differences of the judged pairs at length 1; zero where there is no difference.
    directions, lengths
        (n_concepts, d) weights at length 1, and their lengths (n_concepts,) before that.
    influence
        (n, d) derivative of its concept's weights by the weight of each training pair.
    """

    inside: IntArray
    outside: IntArray
    unit: FloatArray
    directions: FloatArray
    lengths: FloatArray
    influence: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """Averages over splits.

    Attributes
    ----------
    table
        (n_concepts, n_concepts) mean cosine of the weights of j with the pairs of k.
    influence
        (n_components, n_concepts, n_concepts) of each unit on it.
    order
        (n_concepts,) share of a concept's pairs that its weights put in order, a tie counting ½.
    order_influence
        (n_components, n_concepts) of each unit on it, as judged pairs.
    cosines
        (n_pairs, n_concepts) of each pair's difference with the weights of each concept.
    """

    table: FloatArray
    influence: FloatArray
    order: FloatArray
    order_influence: FloatArray
    cosines: FloatArray


class PairSums:
    """Adds up, half by half, each pair's cosines and its influence as a training pair."""

    def __init__(self, design: PairDesign) -> None:
        self._design = design
        shape = (design.n_pairs, design.n_concepts)
        self._cosines, self._judged_by, self._training = (np.zeros(shape) for _ in range(3))
        self._ordered = np.zeros(design.n_pairs)

    def add(self, judged: JudgedPairs) -> None:
        """Add the weights of one half as judged by the pairs of the other."""
        design, concept = self._design, self._design.concept
        cosines = judged.unit @ judged.directions.T
        self._cosines[judged.outside] += cosines
        self._judged_by[judged.outside] += judged.lengths > 0
        own = cosines[np.arange(len(cosines)), concept[judged.outside]]
        self._ordered[judged.outside] += (np.sign(own) + 1.0) / 2.0
        target = np.zeros_like(judged.directions)
        np.add.at(target, concept[judged.outside], judged.unit)
        target /= design.pairs_of_concept[:, None]
        # d cos = (target − cos · direction) · d(weights) / length, a row for each training pair.
        mine = concept[judged.inside]
        along = np.einsum("nd,nd->n", judged.influence, judged.directions[mine])
        moved = judged.influence @ target.T
        moved -= along[:, None] * (judged.directions @ target.T)[mine]
        self._training[judged.inside] += moved / _at_least_something(judged.lengths)[mine, None]

    def averages(self) -> PairScores:
        """Return the entries and the influence of each unit on them."""
        design, K = self._design, self._design.n_concepts
        counts, times = design.pairs_of_concept, np.maximum(self._judged_by, 1.0)
        cosines = self._cosines / times
        table = np.zeros((K, K))
        np.add.at(table.T, design.concept, cosines)  # row k of the transpose: differences of k
        table /= counts[None, :]
        influence = np.zeros((design.n_components, K, K))
        unit = (design.component, design.concept)
        as_judged = (cosines - table.T[design.concept]) / counts[design.concept, None]
        np.add.at(influence.transpose(0, 2, 1), unit, as_judged)
        np.add.at(influence, unit, self._training / len(design.halves))
        order, order_influence = _shares(self._ordered / len(design.halves), design)
        return PairScores(table, influence, order, order_influence, cosines)


def _shares(ordered: FloatArray, design: PairDesign) -> tuple[FloatArray, FloatArray]:
    counts = design.pairs_of_concept
    shares = np.bincount(design.concept, weights=ordered) / counts
    influence = np.zeros((design.n_components, design.n_concepts))
    values = (ordered - shares[design.concept]) / counts[design.concept]
    np.add.at(influence, (design.component, design.concept), values)
    return shares, influence


def check_word_states(F: npt.ArrayLike, design: PairDesign, name: str = "F") -> FloatArray:
    """Return the states of single words as a finite matrix with a row for each word of a pair.

    Raises
    ------
    InputError
        If an entry is not finite or a pair names a row that is not there.
    """
    states = check_states(F, name)
    highest = int(max(design.first.max(), design.second.max()))
    if len(states) <= highest:
        raise InputError(
            f"{name} has {len(states)} rows, but a pair names row {highest}; give one row a word."
        )
    return states


def training_pairs(F: FloatArray, design: PairDesign, inside: IntArray) -> TrainingPairs:
    """Take the pairs of one half, their states centred on its words and of mean square one.

    Residual streams grow by a factor of a hundred along a model; a penalty means the same at each
    layer only if states are put on one scale, and only words of this half may choose it.
    """
    words = np.unique(np.concatenate([design.first[inside], design.second[inside]]))
    centred = F - F[words].mean(axis=0)
    scale = float(np.sqrt(np.mean(np.square(centred[words]))))
    scaled = centred / scale if scale > 0 else centred
    return TrainingPairs(
        scaled[design.first[inside]],
        scaled[design.second[inside]],
        design.concept[inside],
        design.component[inside],
        design.n_concepts,
    )


def at_length_one(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows (n, d) at length 1 and their lengths (n,); 0 where there is nothing but rounding."""
    lengths = np.linalg.norm(values, axis=1)
    is_rounding = lengths <= ROUNDING * lengths.max(initial=0.0)
    lengths = np.where(is_rounding, 0.0, lengths)
    unit = np.where(is_rounding[:, None], 0.0, values / _at_least_something(lengths)[:, None])
    return unit, lengths


def _at_least_something(lengths: FloatArray) -> FloatArray:
    return np.where(lengths > 0, lengths, 1.0)
