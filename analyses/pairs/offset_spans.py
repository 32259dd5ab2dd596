"""How many directions do the concepts' offsets span, and which concepts can be told apart?

Relations are not independent: verb → 3pSg followed by 3pSg → Ved is verb → Ved. Offsets that are
linear combinations of others cannot be inverted by any weights, so the identity that W A is held
against exists only within a set of independent concepts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.results.figures import BLUE, Panel
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Row, bare_estimate
from concept_ppl.errors import InputError

from .designs import PairDesign
from .scores import check_word_states, training_pairs
from .weights import concept_means, whitening

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_SHARE = 0.1
"""Of its squared offset: an independent concept has more than this outside the others' span."""


@dataclass(frozen=True, slots=True, eq=False)
class OffsetSpan(Result):
    """The mean offsets of concepts, at length 1 in the whitened space, as directions.

    Attributes
    ----------
    cosines
        (n_concepts, n_concepts) cosines between mean offsets, free of their sampling noise (from
        halves that share no word); NaN for a concept without an offset.
    singular_values
        Of the offsets that are there, largest first; zero where noise made a square negative.
    independent
        Concepts, strongest first, none of which is nearly a combination of those before it.
    dependent
        The others that have an offset.
    absent
        Concepts whose offset is not there: named by the caller, or of no positive squared length.
    condition_number, condition_independent
        Of the offsets that are there, and of the independent ones.
    names, layer, control
        Of all concepts; labels that the caller gave.
    """

    cosines: FloatArray
    singular_values: tuple[float, ...]
    independent: tuple[str, ...]
    dependent: tuple[str, ...]
    absent: tuple[str, ...]
    condition_number: float
    condition_independent: float
    names: tuple[str, ...]
    layer: str
    control: str
    n: int
    n_components: int
    level: float

    @property
    def rank(self) -> int:
        """How many concepts are independent."""
        return len(self.independent)

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Directions that the offsets span"

    def rows(self) -> Iterator[Row]:
        """Rank, condition numbers (missing where infinite) and singular values, a row each."""
        named = {
            "rank": float(self.rank),
            "condition_number": self.condition_number,
            "condition_number_independent": self.condition_independent,
        }
        values = [(quantity, "", value) for quantity, value in named.items()]
        values += [
            ("singular_value", str(i), value) for i, value in enumerate(self.singular_values, 1)
        ]
        for quantity, term, value in values:
            finite = value if math.isfinite(value) else math.nan
            estimate = bare_estimate(finite, self.level, self.n, self.n_components)
            yield Row("offset_span", quantity, term, estimate, self.layer, self.control)

    def panel(self) -> Panel:
        """Draw the singular values."""

        def draw(axes: "Axes") -> None:
            axes.plot(
                range(1, len(self.singular_values) + 1), self.singular_values, "o", color=BLUE
            )
            axes.set_ylabel("singular value")

        return Panel(6.4, 3.0, draw)

    @property
    def headline(self) -> str:
        """Say the rank, the condition numbers, and which concepts are combinations of others."""
        return (
            f"{self.rank} of {len(self.names)} offsets are independent; condition number "
            f"{self.condition_number:.3g}, of the independent ones {self.condition_independent:.3g}"
            f"; combinations of others: {', '.join(self.dependent) or 'none'}; "
            f"not there: {', '.join(self.absent) or 'none'}."
        )

    def lines(self) -> tuple[str, ...]:
        """Return none: the headline says all."""
        return ()


def offset_span(
    F: npt.ArrayLike,
    design: PairDesign,
    *,
    present: npt.ArrayLike | None = None,
    least_share: float = LEAST_SHARE,
    layer: str = "",
    control: str = "",
    level: float = 0.95,
) -> OffsetSpan:
    """Find the rank of the offsets and a set of independent concepts.

    Products of mean differences of one half with those of the other are free of the noise that
    their squares carry; averaged over splits they estimate the Gram matrix of the population's
    offsets, in a space whitened by the training half. Concepts are then taken one by one, each the
    one that those before explain least (pivoted Cholesky), until all that are left have at most
    ``least_share`` of their squared length outside the span.

    Parameters
    ----------
    F, design
        As in `counterfactual_matrix`.
    present
        (n_concepts,) whether a concept's offset was shown to be there; all by default.
    least_share
        Between 0 and 1.
    layer, control, level
        Labels of the tidy table; nothing here has an interval.

    Raises
    ------
    InputError
        If an array is not finite, lengths differ, or least_share lies outside (0, 1).
    """
    check_level(level)
    if not 0.0 < least_share < 1.0:
        raise InputError(f"least_share is {least_share}; it must lie between 0 and 1.")
    there = np.ones(design.n_concepts, bool) if present is None else np.asarray(present, bool)
    if there.shape != (design.n_concepts,):
        raise InputError(f"present has shape {there.shape}; give one entry a concept.")
    gram = _gram(check_word_states(F, design), design)
    strength = np.diag(gram)
    there = there & (strength > 0)
    lengths = np.sqrt(np.where(there, strength, np.nan))
    cosines = gram / np.outer(lengths, lengths)
    kept = np.flatnonzero(there)
    kept = kept[np.argsort(-strength[kept], kind="stable")]
    order = _independent(cosines[np.ix_(kept, kept)], least_share)
    independent = kept[order]
    named = [design.names[k] for k in independent]
    values, condition = _spectrum(cosines[np.ix_(kept, kept)])
    _, condition_independent = _spectrum(cosines[np.ix_(independent, independent)])
    return OffsetSpan(
        cosines,
        values,
        tuple(named),
        tuple(design.names[k] for k in kept if design.names[k] not in named),
        tuple(name for name, is_there in zip(design.names, there, strict=True) if not is_there),
        condition,
        condition_independent,
        design.names,
        layer,
        control,
        design.n_pairs,
        design.n_components,
        level,
    )


def _gram(F: FloatArray, design: PairDesign) -> FloatArray:
    """Average, over halves, the products (n_concepts, n_concepts) of mean offsets of both."""
    total = np.zeros((design.n_concepts, design.n_concepts))
    for half in design.halves:
        for training in (half, ~half):
            inside, outside = np.flatnonzero(training), np.flatnonzero(~training)
            ours, theirs = (training_pairs(F, design, rows) for rows in (inside, outside))
            differences = ours.differences
            whiten = whitening(differences - concept_means(ours, differences)[ours.concept])
            means = [whiten(concept_means(part, part.differences)) for part in (ours, theirs)]
            total += means[0] @ means[1].T
    return np.asarray((total + total.T) / (4 * len(design.halves)))


def _independent(cosines: FloatArray, least_share: float) -> list[int]:
    """Pivoted Cholesky of (m, m) cosines: which rows, in which order."""
    left = cosines.copy()
    chosen: list[int] = []
    while len(chosen) < len(left):
        shares = np.diag(left).copy()
        shares[chosen] = -np.inf
        pivot = int(np.argmax(shares > shares.max() - 1e-9))
        if shares[pivot] <= least_share:
            break
        chosen.append(pivot)
        column = left[:, pivot].copy()
        left -= np.outer(column, column) / column[pivot]
    return chosen


def _spectrum(cosines: FloatArray) -> tuple[tuple[float, ...], float]:
    if not len(cosines):
        return (), math.nan
    squares = np.clip(np.linalg.eigvalsh(cosines)[::-1], 0.0, None)
    values = np.sqrt(squares)
    condition = float(values[0] / values[-1]) if values[-1] > 0 else math.inf
    return tuple(map(float, values)), condition
