"""What does the published product of weights and offsets show: as it is made, beside its nulls.

Liu et al. (https://arxiv.org/abs/2503.08980) multiply, for word pairs of Park et al.
(https://arxiv.org/abs/2311.03658), the mean difference of a concept's pairs with the weights of
a logistic regression on the same words (C = 1e-4), both at length 1. As C goes to zero the
weights become C/2 times the sum of those differences: the diagonal tends to 1 for any vectors
whatever, with labels swapped at random, for noise in place of states, for a network that was
never trained.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, bare_estimate
from concept_ppl.errors import InputError

from .designs import PairDesign
from .scores import at_length_one, check_word_states

PUBLISHED_INVERSE_PENALTY = 1e-4
AS_PUBLISHED = "as published"
SWAPPED = "labels swapped within pairs"
NOISE = "Gaussian noise in place of states"


@dataclass(frozen=True, slots=True)
class InSampleProduct:
    """Diagonal of W A in sample, over concepts, and the magnitude off it."""

    mean: float
    smallest: float
    largest: float
    off_diagonal: float


@dataclass(frozen=True, slots=True)
class PublishedProcedure(Result):
    """The published number and what it is where there is nothing to find.

    Attributes
    ----------
    products
        By what it was made from: ``as published`` first, then the nulls.
    inverse_penalty
        C of the logistic regressions.
    layer
        Label that the caller gave.
    """

    products: dict[str, InSampleProduct]
    inverse_penalty: float
    layer: str
    n: int
    n_components: int

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "The published procedure and its nulls"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"Published procedure, in sample, C = {self.inverse_penalty:g}"

    def rows(self) -> Iterator[Row]:
        """Three rows each: mean and smallest of the diagonal, mean magnitude off it; no test."""
        for name, product in self.products.items():
            control = "" if name == AS_PUBLISHED else name
            numbers = {
                "diagonal_mean": product.mean,
                "diagonal_smallest": product.smallest,
                "off_diagonal_mean": product.off_diagonal,
            }
            for quantity, value in numbers.items():
                estimate = bare_estimate(value, math.nan, self.n, self.n_components)
                yield Row("published_procedure", quantity, "", estimate, self.layer, control)

    def lines(self) -> list[str]:
        """List the mean diagonal of each, a line each."""
        return [
            f"  {name}: {product.mean:.3f} (smallest {product.smallest:.3f}; off the diagonal "
            f"{product.off_diagonal:.3f})"
            for name, product in self.products.items()
        ]

    def panel(self) -> Panel:
        """Draw the range of each diagonal."""
        entries = [
            (name, Estimate(p.mean, math.nan, p.smallest, p.largest, math.nan, math.nan, self.n, 0))
            for name, p in self.products.items()
        ]
        return forest(entries, "diagonal in sample: mean and range over concepts")


def published_procedure(
    F: npt.ArrayLike,
    design: PairDesign,
    *,
    others: Mapping[str, npt.ArrayLike] | None = None,
    inverse_penalty: float = PUBLISHED_INVERSE_PENALTY,
    layer: str = "",
    seed: int = 0,
) -> PublishedProcedure:
    """Make the published product in sample, and again where there is nothing to find.

    Parameters
    ----------
    F, design
        As in `counterfactual_matrix`.
    others
        By name: further states (n_words, d) of the same words, of random weights say.
    inverse_penalty
        C of the logistic regressions.
    layer
        Label.
    seed
        Of the swaps and the noise.

    Raises
    ------
    InputError
        If an array is not finite or has too few rows, or the penalty is not positive.
    """
    if not inverse_penalty > 0:
        raise InputError(f"inverse_penalty is {inverse_penalty}; it must be positive.")
    states = check_word_states(F, design)
    rng = np.random.default_rng(seed)
    swaps = rng.random(design.n_pairs) < 0.5
    never = np.zeros(design.n_pairs, bool)
    spread = states.std(axis=0)
    noise = states.mean(axis=0) + spread * rng.normal(size=states.shape)
    made = {
        AS_PUBLISHED: (states, never),
        SWAPPED: (states, swaps),
        NOISE: (noise, never),
        **{
            name: (check_word_states(values, design, name), never)
            for name, values in (others or {}).items()
        },
    }
    products = {
        name: _product(values, design, swapped, inverse_penalty)
        for name, (values, swapped) in made.items()
    }
    return PublishedProcedure(products, inverse_penalty, layer, design.n_pairs, design.n_components)


def _product(
    F: FloatArray, design: PairDesign, swapped: npt.NDArray[np.bool_], inverse_penalty: float
) -> InSampleProduct:
    from sklearn.linear_model import LogisticRegression

    first = np.where(swapped, design.second, design.first)
    second = np.where(swapped, design.first, design.second)
    offsets = np.zeros((design.n_concepts, F.shape[1]))
    weights = np.zeros_like(offsets)
    for k in range(design.n_concepts):
        own = np.flatnonzero(design.concept == k)
        offsets[k] = (F[second[own]] - F[first[own]]).mean(axis=0)
        words = np.vstack([F[first[own]], F[second[own]]])
        labels = np.repeat([0, 1], len(own))
        model = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(words, labels)
        weights[k] = model.coef_[0]
    product = at_length_one(weights)[0] @ at_length_one(offsets)[0].T
    diagonal = np.diag(product)
    off = np.abs(product[~np.eye(len(product), dtype=bool)])
    return InSampleProduct(
        float(diagonal.mean()),
        float(diagonal.min()),
        float(diagonal.max()),
        float(off.mean()) if off.size else math.nan,
    )
