"""Do the differences of token vectors span the space of the states: the diversity condition."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from concept_ppl.analyses.designs.arrays import FloatArray, check_states
from concept_ppl.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Diversity:
    """Span of g(y_j) − g(y_0) over all tokens; the same whichever token is y_0.

    Attributes
    ----------
    rank
        Number of singular values of the centred unembedding above ``tolerance`` times the largest.
    condition_number
        Largest over smallest of those singular values.
    basis
        (d, rank) read-only orthonormal basis of the span.
    tolerance
        d times the rounding unit of the floating-point type in which the unembedding came.
    """

    rank: int
    condition_number: float
    basis: FloatArray
    tolerance: float

    def __post_init__(self) -> None:
        self.basis.flags.writeable = False

    @property
    def holds(self) -> bool:
        """Whether the span is the whole space."""
        return self.rank == len(self.basis)

    def __str__(self) -> str:
        """Print the condition on one line."""
        verdict = "holds" if self.holds else "fails: states were projected on the span"
        return (
            f"diversity {verdict}; token differences span {self.rank} of {len(self.basis)} "
            f"directions, condition number {self.condition_number:.4g}"
        )


def diversity_condition(unembedding: npt.ArrayLike, width: int | None = None) -> Diversity:
    """Measure the span of differences of token vectors (Liu et al. 2025, arXiv 2503.08980).

    The differences from any y_0 span what the deviations from the mean span; those are decomposed,
    so that no token is singled out.

    Parameters
    ----------
    unembedding
        (V, d) g(y), float16 to float64.
    width
        Of the states, d, if it is to be checked.

    Raises
    ------
    InputError
        If an entry is not finite, the width differs, or all tokens have the same vector.
    """
    given = np.asarray(unembedding)
    G = check_states(given, "unembedding")
    d = G.shape[1]
    if width is not None and d != width:
        raise InputError(f"unembedding has {d} columns, the states have {width}; give (V, d).")
    precision = given.dtype if given.dtype.kind == "f" else np.dtype(np.float64)
    tolerance = d * float(np.finfo(precision).eps)
    triangle = linalg.qr(G - G.mean(axis=0), mode="r")[0][: min(G.shape)]
    _, values, directions = np.linalg.svd(triangle)
    if not values[0] > np.finfo(np.float64).eps * np.abs(G).max():
        raise InputError("unembedding holds the same vector for every token.")
    kept = int(np.sum(values > tolerance * values[0]))
    return Diversity(
        kept, float(values[0] / values[kept - 1]), directions[:kept].T.copy(), tolerance
    )
