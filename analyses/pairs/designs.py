"""Which word pairs are one unit, and which are held out together: halves that share no lexeme.

Pairs that share a word, in whatever list, are linked; a connected component of linked pairs is
one unit (accept–accepts, accepts–accepted and accept–acceptable are). Splits deal whole units to
two halves, so that weights are never judged by a word that they have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from concept_ppl.analyses.designs.arrays import IntArray
from concept_ppl.errors import InputError

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PairDesign:
    """Pairs of words, the units among them, and the splits that every analysis of them shares.

    Attributes
    ----------
    first, second
        (n_pairs,) rows of the states of each pair's words.
    concept
        (n_pairs,) codes 0 … n_concepts − 1.
    component
        (n_pairs,) codes of the units: connected components of shared words.
    names
        Of the concepts.
    halves
        (n_splits, n_pairs), which pairs of each split lie in the first half.
    """

    first: IntArray
    second: IntArray
    concept: IntArray
    component: IntArray
    names: tuple[str, ...]
    halves: BoolArray

    @property
    def n_pairs(self) -> int:
        """Number of pairs, of all concepts together."""
        return len(self.concept)

    @property
    def n_concepts(self) -> int:
        """Number of concepts."""
        return len(self.names)

    @property
    def n_components(self) -> int:
        """Number of units."""
        return int(self.component.max()) + 1

    @property
    def pairs_of_concept(self) -> IntArray:
        """(n_concepts,) how many pairs each has."""
        return np.asarray(np.bincount(self.concept, minlength=self.n_concepts))

    @property
    def components_of_concept(self) -> IntArray:
        """(n_concepts,) how many units the pairs of each lie in."""
        return np.asarray((self.incidence() > 0).sum(axis=0), dtype=np.int64)

    def incidence(self) -> IntArray:
        """(n_components, n_concepts) how many pairs of each unit speak of each concept."""
        table = np.zeros((self.n_components, self.n_concepts), dtype=np.int64)
        np.add.at(table, (self.component, self.concept), 1)
        return table

    def first_splits(self, n: int) -> "PairDesign":
        """Keep the first ``n`` splits, for what is costly to fit."""
        return replace(self, halves=self.halves[:n])


def make_pair_design(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    concept: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    n_splits: int = 10,
    seed: int = 0,
) -> PairDesign:
    """Find the units among word pairs and draw the splits.

    Each split takes the units in random order and gives each to the half in which its concepts have
    fewer pairs so far (by a coin where they have as many), so that both halves hold about half the
    pairs of every concept.

    Parameters
    ----------
    first, second
        (n_pairs,) rows of the two words of each pair among the states.
    concept
        (n_pairs,) codes 0 … n_concepts − 1.
    names
        Of the concepts; their codes by default.
    n_splits, seed
        How many splits, at least 1, and the seed that draws them.

    Raises
    ------
    InputError
        If lengths differ, a row is negative, a pair has one word twice, or a concept has fewer
        than two units and so cannot be held out.
    """
    rows = [_codes(values, name) for values, name in ((first, "first"), (second, "second"))]
    codes = _codes(concept, "concept")
    if not len(rows[0]) == len(rows[1]) == len(codes) > 0:
        raise InputError(
            f"first, second and concept have {len(rows[0])}, {len(rows[1])} and {len(codes)} "
            "entries; give one a pair to each, and at least one pair."
        )
    if n_splits < 1:
        raise InputError(f"n_splits is {n_splits}; give at least 1.")
    same = np.flatnonzero(rows[0] == rows[1])
    if same.size:
        raise InputError(f"Pair {same[0]} has the same word twice; leave it out.")
    labels = tuple(names) if names is not None else tuple(map(str, range(codes.max() + 1)))
    if len(labels) <= codes.max():
        raise InputError(f"names has {len(labels)} entries, but concept goes up to {codes.max()}.")
    component = lexeme_components(rows[0], rows[1])
    design = PairDesign(
        rows[0], rows[1], codes, component, labels, np.zeros((n_splits, len(codes)), bool)
    )
    few = np.flatnonzero(design.components_of_concept < 2)
    if few.size:
        raise InputError(
            f"Concept '{labels[few[0]]}' has {design.components_of_concept[few[0]]} independent "
            "units (sets of pairs that share words); at least 2 are needed to hold one out."
        )
    rng = np.random.default_rng(seed)
    incidence = design.incidence()
    sides = np.array([_halves(incidence, rng) for _ in range(n_splits)])
    return replace(design, halves=sides[:, component])


def lexeme_components(first: IntArray, second: IntArray) -> IntArray:
    """Codes (n_pairs,) of the connected component of shared words that each pair lies in."""
    n_words = int(max(first.max(), second.max())) + 1
    graph = sparse.coo_matrix((np.ones(len(first)), (first, second)), shape=(n_words, n_words))
    _, label = csgraph.connected_components(graph, directed=False)
    _, codes = np.unique(label[first], return_inverse=True)
    return codes.astype(np.int64)


def _halves(incidence: IntArray, rng: np.random.Generator) -> BoolArray:
    """Deal the units (n_components,) to two halves."""
    lead = np.zeros(incidence.shape[1], dtype=np.int64)
    in_first = np.zeros(len(incidence), dtype=bool)
    coins = rng.random(len(incidence)) < 0.5
    for unit in rng.permutation(len(incidence)):
        pull = int(incidence[unit] @ lead)
        in_first[unit] = coins[unit] if pull == 0 else pull < 0
        lead += incidence[unit] if in_first[unit] else -incidence[unit]
    return in_first


def _codes(values: npt.ArrayLike, name: str) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"{name} must be one whole number a pair.")
    if array.size and array.min() < 0:
        raise InputError(f"{name} holds {array.min()}; number from 0.")
    return array.astype(np.int64)
