"""Step one of every held-out number: states decomposed once, for every target and every penalty.

For K folds, the map that is tested on fold k is trained on the other K − 1 folds, and its penalty
is chosen by cross-validation *among those*: fold j is predicted from the folds that are neither j
nor k. Training without {j, k} serves outer fold k and outer fold j alike, so that all nested fits
need K(K − 1)/2 + K decompositions instead of K². Each serves every penalty and every target
(log-odds, posteriors, shuffled copies of both). Narrow states are decomposed into eigenvectors,
wide ones into a band (see `ridge.band_matrix`); Gram matrices of training sets are put together
from those of the folds, which are taken once.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from concept_ppl.errors import InputError

from .arrays import FloatArray, IntArray
from .design import Design, make_design
from .ridge.band_sides import Side, gram_band, kernel_band
from .ridge.lower_matrices import (
    LowerMatrix,
    gram_matrix,
    is_narrow,
    kernel_matrix,
    training_gram,
    training_kernel,
)
from .ridge.one_thread_each import Answer, Task, each
from .ridge.spectrum import Spectrum, TrainingRows, dual_spectrum, primal_spectrum
from .ridge.state_rows import StateRows, centred_rows, checked_rows, rows_of
from .training_moments import HeldOut


@dataclass(frozen=True, eq=False)
class DecomposedStates:
    """States ready to be regressed on: what every target and every penalty can share.

    Attributes
    ----------
    rows
        (n, d) states, centred by their overall mean (a translation, for accuracy only).
    design
        Weights, clusters and folds.
    spectra
        For each set of held-out folds, (k,) or (j, k) with j < k, the decomposed remaining rows.
    tuned
        Losses (K, L) of targets that were tuned before, by what they were; see `cross_fits`.
    """

    rows: StateRows
    design: Design
    spectra: Mapping[HeldOut, Side]
    tuned: dict[bytes, FloatArray]

    @property
    def width(self) -> int:
        """Number of coordinates d."""
        return self.rows.width

    @property
    def F(self) -> FloatArray:  # noqa: N802 — the field's symbol
        """All rows (n, d) as one float64 matrix, which takes its memory where states are large."""
        return self.rows.whole()

    @cached_property
    def hashes(self) -> IntArray:
        """A number for each row (n,), the same where rows are."""
        return self.rows.hashes()

    def training_rows(self, held_out: HeldOut, side: Side | None = None) -> TrainingRows:
        """Return the rows of all folds but some, whose side is given if it is none of `spectra`."""
        members = _members(self.design, held_out)
        mean = self.spectra[held_out].mean if side is None else side.mean
        return TrainingRows(self.rows, members, self.design.weights[members], mean)

    def times(self, maps: Sequence[FloatArray]) -> list[FloatArray]:
        """Products (n, s) of all rows with several maps (d, s), in one pass over the rows."""
        stacked = np.hstack(maps)
        found = np.empty((self.design.n, stacked.shape[1]))

        def multiply(members: IntArray) -> None:
            found[members] = self.rows.times(stacked, members)

        self.each(multiply, self.design.members)
        return np.split(found, np.cumsum([part.shape[1] for part in maps])[:-1], axis=1)

    def each(self, work: Callable[[Task], Answer], tasks: Iterable[Task]) -> list[Answer]:
        """Answers of independent tasks; those of wide states are done beside each other."""
        wide = any(not isinstance(side, Spectrum) for side in self.spectra.values())
        return each(work, tasks, beside=wide)


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

    The result takes the place of ``F`` in the other analyses, which then share it. Arrays and
    memory maps of half, single or double precision with more than 16 million numbers are not
    copied but read block by block: leave them as they are while the result is in use.

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
    rows = checked_rows(F)
    design = make_design(len(rows), weights=weights, clusters=clusters, n_folds=n_folds, seed=seed)
    return decompose_rows(rows, design)


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
    return decompose_rows(checked_rows(F, name, design.n), design)


def decompose(F: FloatArray, design: Design, tested: int | None = None) -> DecomposedStates:
    """Decompose a float64 matrix (n, d); see `decompose_rows`."""
    return decompose_rows(rows_of(F), design, tested)


def decompose_rows(rows: StateRows, design: Design, tested: int | None = None) -> DecomposedStates:
    """Decompose all training sets that nested tuning over the design's folds needs.

    Where one fold alone is ``tested``, only those that leave it out.
    """
    rows = centred_rows(rows, design.weights)
    singles: list[HeldOut] = [(k,) for k in range(design.n_folds)]
    pairs: list[HeldOut] = list(combinations(range(design.n_folds), 2))
    wanted = [out for out in singles + pairs if tested is None or tested in out]
    return DecomposedStates(rows, design, decomposed_sides(rows, design, wanted), {})


def decomposed_sides(
    rows: StateRows, design: Design, wanted: Iterable[HeldOut]
) -> dict[HeldOut, Side]:
    """Decompose centred rows of all folds but those held out, for each such set that is wanted.

    From the primal (d × d) or the dual (m × m) side, whichever is smaller; wide ones beside each
    other.
    """
    sums = _fold_sums(rows, design)
    sets = {out: _training_rows(rows, design, out, sums) for out in wanted}
    primal = {out for out, train in sets.items() if len(train.members) >= rows.width}
    grams = _fold_grams(rows, design, primal)
    dual = {
        out
        for out, train in sets.items()
        if out not in primal and not is_narrow(len(train.members))
    }
    wide = bool(dual or (primal and not is_narrow(rows.width)))
    if wide:
        import torch  # noqa: F401 — before threads are started, which then know how many it may use

    union = _members(design, _never_kept(design, dual))
    kernel = kernel_matrix(rows, union) if dual else None

    def side(out: HeldOut) -> Side:
        train = sets[out]
        if out in primal:
            kept = [gram for k, gram in grams.items() if k not in out]
            gram = training_gram(kept, float(train.weights.sum()), train.mean)
            if is_narrow(rows.width):
                return primal_spectrum(gram, train.mean)
            return gram_band(gram, train.mean)
        if kernel is None or out not in dual:
            return dual_spectrum(train)
        chosen = np.searchsorted(union, train.members)
        return kernel_band(training_kernel(kernel, chosen, train.weights), train)

    return dict(zip(sets, each(side, sets, beside=wide), strict=True))


def _members(design: Design, held_out: HeldOut) -> IntArray:
    """Rows of all folds but some, in their own order."""
    return np.flatnonzero(~np.isin(design.folds, held_out))


def _fold_sums(rows: StateRows, design: Design) -> FloatArray:
    """Weighted sums (K, d) of the rows of each fold."""

    def total(members: IntArray) -> FloatArray:
        return rows.transposed_times(design.weights[members, None], members)[:, 0]

    return np.array(each(total, design.members, beside=not is_narrow(rows.width)))


def _training_rows(
    rows: StateRows, design: Design, held_out: HeldOut, sums: FloatArray
) -> TrainingRows:
    members = _members(design, held_out)
    weights = design.weights[members]
    kept = [k for k in range(design.n_folds) if k not in held_out]
    return TrainingRows(rows, members, weights, sums[kept].sum(axis=0) / weights.sum())


def _fold_grams(
    rows: StateRows, design: Design, sets: Collection[HeldOut]
) -> dict[int, LowerMatrix]:
    """Gram matrices of the folds from which those of training sets are put together."""
    folds = [k for k in range(design.n_folds) if any(k not in out for out in sets)]

    def gram(fold: int) -> LowerMatrix:
        members = design.members[fold]
        return gram_matrix(rows, members, design.weights[members])

    found = each(gram, folds, beside=not is_narrow(rows.width))
    return dict(zip(folds, found, strict=True))


def _never_kept(design: Design, sets: Collection[HeldOut]) -> HeldOut:
    """Folds that every one of some sets leaves out."""
    return tuple(k for k in range(design.n_folds) if all(k in out for out in sets))
