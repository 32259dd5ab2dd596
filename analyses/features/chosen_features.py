"""A few features chosen in training folds, fitted there and scored on the fold that they never saw.

Among ten thousands of features of noise the best correlated one looks good on the rows that chose
it; chosen inside the training folds it scores zero on the others. Every number here is of a choice
and a map that were both made without the rows on which they are judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.held_out import SquaredErrors

from .feature_arrays import FeatureArray, FeatureMoments

SCREENED = 1000
"""How many features, best correlated alone, may be among those that are chosen together: sure
independence screening (Fan and Lv 2008, https://doi.org/10.1111/j.1467-9868.2008.00674.x)."""
RIDGE = 1e-8
"""Of the mean square of a chosen feature: keeps the map of features that are alike finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Features chosen for one target by each fold.

    Attributes
    ----------
    numbers
        For each fold (k,) the features that its training rows chose, the first best.
    """

    numbers: tuple[IntArray, ...]

    def first(self, k: int) -> "Choice":
        """Keep the first k of each fold."""
        return Choice(tuple(own[:k] for own in self.numbers))

    @property
    def most_frequent(self) -> int:
        """The first choice of most folds; of several, the least number."""
        numbers, counts = np.unique([own[0] for own in self.numbers], return_counts=True)
        return int(numbers[counts.argmax()])


def choose(
    features: FeatureArray, moments: FeatureMoments, Z: FloatArray, design: Design, most: int
) -> list[Choice]:
    """Choose up to ``most`` features a target, each fold by its training rows alone.

    The first is the one with the largest correlation. Each further one is that whose part beyond
    the chosen ones explains most of what they leave (orthogonal matching pursuit, Pati, Rezaiifar
    and Krishnaprasad 1993, https://doi.org/10.1109/ACSSC.1993.342465), among the ``SCREENED``
    best alone.

    Returns
    -------
    choices
        One a column of Z (n, q).
    """
    numbers: list[list[IntArray]] = [[] for _ in range(Z.shape[1])]
    for k in range(design.n_folds):
        alone = np.abs(moments.correlations(np.arange(design.n_folds) != k))
        train = np.flatnonzero(design.folds != k)
        for j in range(Z.shape[1]):
            if most == 1:
                numbers[j].append(np.array([alone[:, j].argmax()]))
                continue
            kept = np.argsort(-alone[:, j], kind="stable")[: max(SCREENED, most)]
            X, root = features.columns(kept)[train], np.sqrt(design.weights[train])[:, None]
            order = pursue(root * _centred(X, root), root * _centred(Z[train, [j]], root), most)
            numbers[j].append(kept[order])
    return [Choice(tuple(own)) for own in numbers]


def _centred(values: FloatArray, root: FloatArray) -> FloatArray:
    columns = values if values.ndim == 2 else values[:, None]
    mass = np.square(root[:, 0])
    return np.asarray(columns - np.average(columns, axis=0, weights=mass))


def pursue(X: FloatArray, z: FloatArray, most: int) -> IntArray:
    """Orthogonal matching pursuit of z (n, 1) by columns of X (n, m), both centred: their numbers.

    Ends early where no column has a part beyond the chosen ones.
    """
    lengths = np.linalg.norm(X, axis=0)
    left = np.divide(X, lengths, out=np.zeros_like(X), where=lengths > 0)
    rest = z[:, 0].copy()
    chosen: list[int] = []
    for _ in range(min(most, X.shape[1])):
        beyond = np.linalg.norm(left, axis=0)
        usable = beyond > 1e-6
        gains = np.divide(np.abs(left.T @ rest), beyond, out=np.zeros_like(beyond), where=usable)
        gains[chosen] = -1.0
        best = int(gains.argmax())
        if not usable[best]:
            break
        chosen.append(best)
        direction = left[:, best] / beyond[best]
        rest -= direction * (direction @ rest)
        left -= np.outer(direction, direction @ left)
    return np.array(chosen or [0], dtype=np.int64)


def chosen_errors(
    features: FeatureArray, choices: Sequence[Choice], Z: FloatArray, design: Design
) -> SquaredErrors:
    """Held-out squared errors of the least-squares maps of the chosen features.

    With what every row does to them through the maps that it trains, the choice counting as given.

    Parameters
    ----------
    features, Z
        (n, m) and (n, q).
    choices
        One a column of Z.
    design
        Weights, clusters and folds.
    """
    parts = {name: np.zeros_like(Z) for name in ("sse", "sst", "sse_training", "sst_training")}
    for j, choice in enumerate(choices):
        for k, numbers in enumerate(choice.numbers):
            _score(features.columns(numbers), Z[:, j], design, k, parts, j)
    return SquaredErrors(
        design, parts["sse"], parts["sst"], parts["sse_training"], parts["sst_training"]
    )


def _score(
    X: FloatArray, z: FloatArray, design: Design, k: int, parts: dict[str, FloatArray], j: int
) -> None:
    """Fit fold ``k``'s map of features X (n, s), and add its errors and influences to column j."""
    test = design.folds == k
    train = ~test
    w_train, w_test = design.weights[train], design.weights[test]
    mean_x, mean_z = (
        np.average(X[train], axis=0, weights=w_train),
        np.average(z[train], weights=w_train),
    )
    A, b = X[train] - mean_x, z[train] - mean_z
    gram = A.T @ (w_train[:, None] * A)
    ridge = RIDGE * np.maximum(np.diag(gram), np.finfo(np.float64).tiny)
    factor = linalg.cho_factor(gram + np.diag(ridge + (np.diag(gram) == 0)))
    slopes = linalg.cho_solve(factor, A.T @ (w_train * b))
    left = b - A @ slopes
    residual, deviation = z[test] - mean_z - (X[test] - mean_x) @ slopes, z[test] - mean_z
    parts["sse"][test, j], parts["sst"][test, j] = residual**2, deviation**2
    gradient = -2.0 * w_test * residual
    pull = A @ linalg.cho_solve(factor, (X[test] - mean_x).T @ gradient)
    mass = w_train.sum()
    parts["sse_training"][train, j] += (gradient.sum() / mass + pull) * left
    parts["sst_training"][train, j] += (-2.0 * w_test @ deviation) / mass * b
