"""Do a concept's weights point along the differences of word pairs that they never saw?

Entry (j, k) is the mean cosine between the weights of concept j, fitted to one half of the
words, and the differences of concept k's pairs in the other half, averaged over splits. It is
what Liu et al. (https://arxiv.org/abs/2503.08980) call W A, asked of new words: on the diagonal
1 where all pairs of a concept differ by one vector, and 0 where they have nothing in common.

**What an interval speaks of**: the expected entry for weights fitted to this many words, over
new draws of words; see `pair_intervals`.

**What a p-value speaks of**: on the diagonal, of the null that second minus first and first
minus second are alike in distribution; all signs of a unit are flipped together, in training and
judged halves alike, and every entry is made anew. Off the diagonal, two-sided, of the null that
the expected entry is zero, as its interval does: flips would take weights as given, and reject
for unrelated concepts too often (10–17% at a nominal 5%).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.multiplicity import benjamini_hochberg, holm
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, bare_estimate, result_frame
from concept_ppl.errors import InputError

from .designs import BoolArray, PairDesign
from .intervals import cosine_estimate, mean_influence, share_estimate
from .scores import (
    JudgedPairs,
    PairScores,
    PairSums,
    at_length_one,
    check_word_states,
    training_pairs,
)
from .sign_flips import FlippedEntries, flip_signs, flipped_diagonal, null_quantiles
from .weights import ESTIMATORS, Estimator, Weights, fit_weights

FEWEST_FLIPS = 999


@dataclass(frozen=True, slots=True, eq=False)
class CounterfactualMatrix(Result):
    """Held-out cosines of weights with differences of new pairs, all concepts against all.

    Attributes
    ----------
    entries
        n_concepts rows of n_concepts estimates: ``entries[j][k]`` for weights of j, differences of
        k. p-values as the module says, not adjusted; NaN on the diagonal of an estimator that
        cannot be flipped without fitting it again.
    null
        (n_concepts, n_concepts) .95 quantile under flipped signs: of the entry on the diagonal,
        of its magnitude, weights as given, off it.
    order
        For each concept, how often its weights put the second word of a new pair above the first;
        its interval counts the weights as given.
    mean_diagonal
        Mean over concepts; the p-value flips all concepts together.
    mean_order
        Mean of ``order``.
    mean_off_diagonal
        Mean magnitude of the other entries; a description, without interval or test.
    diagonal_influence, order_influence
        (n_components, n_concepts) influence of each unit, for paired differences.
    names, estimator, layer, control
        Of the concepts; what was fitted; labels that the caller gave.
    """

    entries: tuple[tuple[Estimate, ...], ...]
    null: FloatArray
    order: tuple[Estimate, ...]
    mean_diagonal: Estimate
    mean_order: Estimate
    mean_off_diagonal: float
    diagonal_influence: FloatArray
    order_influence: FloatArray
    names: tuple[str, ...]
    estimator: str
    layer: str
    control: str

    @property
    def diagonal(self) -> tuple[Estimate, ...]:
        """Entry (k, k) of each concept."""
        return tuple(row[k] for k, row in enumerate(self.entries))

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Held-out weights ({self.estimator}) and the differences of new pairs"

    def rows(self) -> Iterator[Row]:
        """Every entry, the means and the order of new pairs; p-values not adjusted."""
        yield from self._diagonal_rows()
        yield from self._mean_rows()
        yield from self._order_rows()
        yield from self._other_rows()

    def lines(self) -> list[str]:
        """List the mean and the diagonal, a line each."""
        return [f"  {name}  {value}" for name, value in self._entries()]

    def panel(self) -> Panel:
        """Forest plot of the diagonal and its mean."""
        return forest(self._entries(), "cosine with new pairs, held out")

    def tidy(self) -> pd.DataFrame:
        """Return the rows, diagonal adjusted by Holm, the others by Benjamini–Hochberg."""
        others = benjamini_hochberg(result_frame(self._other_rows()))
        return pd.concat([self.tidy_diagonal(), others], ignore_index=True)

    def printed(self) -> pd.DataFrame:
        """Return the diagonal and the means, as there are too many other entries for a page."""
        return self.tidy_diagonal()

    def tidy_diagonal(self) -> pd.DataFrame:
        """Return the diagonal, adjusted by Holm, the order of new pairs, and their means."""
        diagonal = holm(result_frame(self._diagonal_rows()))
        orders = result_frame(self._order_rows())
        return pd.concat([diagonal, self.tidy_means(), orders], ignore_index=True)

    def tidy_means(self) -> pd.DataFrame:
        """Return the means over concepts, a row each."""
        return result_frame(self._mean_rows())

    def _entries(self) -> list[tuple[str, Estimate]]:
        named = zip(self.names, self.diagonal, strict=True)
        return [("mean over concepts", self.mean_diagonal), *named]

    def _row(self, quantity: str, term: str, value: Estimate) -> Row:
        analysis = f"counterfactual_{self.estimator.replace(' ', '_').lower()}"
        return Row(analysis, quantity, term, value, self.layer, self.control)

    def _diagonal_rows(self) -> Iterator[Row]:
        for name, value in zip(self.names, self.diagonal, strict=True):
            yield self._row("cosine_diagonal", name, value)

    def _order_rows(self) -> Iterator[Row]:
        for name, value in zip(self.names, self.order, strict=True):
            yield self._row("order", name, value)

    def _other_rows(self) -> Iterator[Row]:
        for j, row in enumerate(self.entries):
            for k, value in enumerate(row):
                if j != k:
                    term = f"{self.names[j]} | {self.names[k]}"
                    yield self._row("cosine_off_diagonal", term, value)

    def _mean_rows(self) -> Iterator[Row]:
        mean = self.mean_diagonal
        yield self._row("mean_diagonal", "", mean)
        off = bare_estimate(self.mean_off_diagonal, mean.ci_level, mean.n, mean.n_clusters)
        yield self._row("mean_off_diagonal", "", off)
        yield self._row("mean_order", "", self.mean_order)


def counterfactual_matrix(
    F: npt.ArrayLike,
    design: PairDesign,
    *,
    estimator: Estimator = "whitened",
    F_weights: npt.ArrayLike | None = None,
    n_flips: int = 9_999,
    layer: str = "",
    control: str = "",
    label: str = "",
    seed: int = 0,
    level: float = 0.95,
) -> CounterfactualMatrix:
    """Hold weights of word pairs against the differences of pairs with other words.

    Parameters
    ----------
    F
        (n_words, d) states of single words, whose rows the design names.
    design
        From `make_pair_design`.
    estimator
        How weights are fitted; see `pair_weights`.
    F_weights
        (n_words, d) what weights are fitted to, where that is not F: unembedding rows, say.
    n_flips
        Random sign flips, at least 999; 9,999 for Holm over some thirty concepts. 0 gives no
        p-value and no null, and takes a fraction of the time.
    layer, control, label
        For the tidy table: where the states are from, which control they are, and what to call the
        estimator in place of its name.
    seed, level
        Of flips and inner folds; confidence level.

    Raises
    ------
    InputError
        If an array is not finite or has too few rows, or an argument is out of range.
    """
    check_level(level)
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator '{estimator}' is unknown; choose {', '.join(ESTIMATORS)}.")
    if n_flips and n_flips < FEWEST_FLIPS:
        raise InputError(f"n_flips is {n_flips}; give {FEWEST_FLIPS} or more, or 0 for none.")
    judged = check_word_states(F, design)
    trained = judged if F_weights is None else check_word_states(F_weights, design, "F_weights")
    if trained.shape[1] != judged.shape[1]:
        raise InputError(
            f"F_weights has {trained.shape[1]} columns, F has {judged.shape[1]}; weights and "
            "differences must lie in one space."
        )
    sums = PairSums(design)
    flips = None
    if n_flips:
        flips = FlippedEntries(flip_signs(design.n_components, n_flips, seed), design)
    for half in design.halves:
        for training in (half, ~half):
            weights, half_judged = _judge(judged, trained, design, training, estimator, seed)
            sums.add(half_judged)
            if flips is not None and weights.contributions is not None:
                flips.add(half_judged, weights.contributions)
    return _matrix(sums.averages(), flips, design, (label or estimator, layer, control), level)


def _judge(
    judged: FloatArray,
    trained: FloatArray,
    design: PairDesign,
    training: BoolArray,
    estimator: Estimator,
    seed: int,
) -> tuple[Weights, JudgedPairs]:
    """Fit to one half and look at the differences of the other."""
    inside, outside = np.flatnonzero(training), np.flatnonzero(~training)
    weights = fit_weights(estimator, training_pairs(trained, design, inside), seed)
    differences = judged[design.second[outside]] - judged[design.first[outside]]
    unit, _ = at_length_one(weights.judged(differences))
    directions, lengths = at_length_one(weights.directions)
    return weights, JudgedPairs(inside, outside, unit, directions, lengths, weights.influence)


def _matrix(
    scores: PairScores,
    flips: FlippedEntries | None,
    design: PairDesign,
    labels: tuple[str, str, str],
    level: float,
) -> CounterfactualMatrix:
    """Put intervals, p-values and null quantiles to the averages."""
    concepts = range(design.n_concepts)
    on_diagonal = np.diag_indices(design.n_concepts)
    p_values, p_mean = np.full(design.n_concepts, math.nan), math.nan
    null = np.full((design.n_concepts, design.n_concepts), math.nan)
    if flips is not None:
        null = null_quantiles(flips.signs, scores.cosines, design)
        null[on_diagonal] = math.nan
    if flips is not None and flips.n_added:
        p_values, null[on_diagonal], p_mean = flipped_diagonal(flips)
    pairs = [int(n) for n in design.pairs_of_concept]
    units = [int(n) for n in design.components_of_concept]

    def entry(j: int, k: int) -> Estimate:
        p_value = float(p_values[k]) if j == k else None
        influence = scores.influence[:, j, k]
        return cosine_estimate(
            float(scores.table[j, k]), influence, level, p_value, pairs[k], units[k]
        )

    diagonal = np.diagonal(scores.influence, axis1=1, axis2=2).copy()
    mean = float(scores.table[on_diagonal].mean())
    off = scores.table[~np.eye(design.n_concepts, dtype=bool)]
    everything = (design.n_pairs, design.n_components)
    return CounterfactualMatrix(
        entries=tuple(tuple(entry(j, k) for k in concepts) for j in concepts),
        null=null,
        order=tuple(
            share_estimate(
                float(scores.order[k]), scores.order_influence[:, k], level, pairs[k], units[k]
            )
            for k in concepts
        ),
        mean_diagonal=cosine_estimate(mean, mean_influence(diagonal), level, p_mean, *everything),
        mean_order=share_estimate(
            float(scores.order.mean()), mean_influence(scores.order_influence), level, *everything
        ),
        mean_off_diagonal=float(np.abs(off).mean()) if off.size else math.nan,
        diagonal_influence=diagonal,
        order_influence=scores.order_influence,
        names=design.names,
        estimator=labels[0],
        layer=labels[1],
        control=labels[2],
    )


def matrix_of(values: Sequence[Sequence[Estimate]], attribute: str) -> FloatArray:
    """One attribute of every estimate, as an array (n_concepts, n_concepts)."""
    return np.array([[getattr(value, attribute) for value in row] for row in values])
