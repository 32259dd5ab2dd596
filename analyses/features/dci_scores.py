"""Disentanglement, completeness and informativeness, as Eastwood and Williams (2018) define them.

https://openreview.net/forum?id=By-7dz-AZ. Relative importances R of m features for q contrasts come
from one sparse linear map a contrast; a feature is disentangled where its row of R is concentrated
on one contrast, a contrast complete where its column is concentrated on one feature, each measured
by one less the entropy over its maximum, and informativeness is what the maps tell held out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, bare_estimate
from concept_ppl.errors import InputError

from .chosen_features import choose, chosen_errors
from .feature_arrays import FeatureArray, Features, feature_moments
from .questions import ask_of

MOST = 20
"""Features in the sparse map of a contrast."""


@dataclass(frozen=True, slots=True)
class Dci(Result):
    """The three numbers, over contrasts of the log-posterior.

    Attributes
    ----------
    disentanglement, completeness
        Averages over features (weighted by their importance) and over contrasts, means over the
        folds' maps; from 0 to 1. Descriptions, without interval.
    informativeness
        Held-out R² of the contrasts given the sparse maps.
    by_contrast
        Completeness of each contrast.
    names, extractor, layer
        Of the contrasts; labels that the caller gave.
    """

    disentanglement: Estimate
    completeness: Estimate
    informativeness: Estimate
    by_contrast: tuple[Estimate, ...]
    names: tuple[str, ...]
    extractor: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Disentanglement, completeness, informativeness"

    def rows(self) -> Iterator[Row]:
        """Yield the three, then the completeness of each contrast."""
        for quantity in ("disentanglement", "completeness", "informativeness"):
            yield Row("dci", quantity, "all", getattr(self, quantity), self.layer, self.extractor)
        for name, value in zip(self.names, self.by_contrast, strict=True):
            yield Row("dci", "completeness", name, value, self.layer, self.extractor)

    def lines(self) -> list[str]:
        """List the three numbers."""
        return [f"  {name}  {value}" for name, value in self._entries()]

    def panel(self) -> Panel:
        """Forest plot of the three."""
        return forest(self._entries(), "DCI")

    def _entries(self) -> list[tuple[str, Estimate]]:
        names = ("disentanglement", "completeness", "informativeness")
        return [(name, getattr(self, name)) for name in names]


def dci(
    features: Features,
    log_p: Mapping[str, npt.ArrayLike],
    *,
    most: int = MOST,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    extractor: str = "",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Dci:
    """Measure how far each feature speaks of one contrast, and each contrast through one feature.

    Parameters
    ----------
    features, log_p, weights, clusters, extractor, layer, n_folds, seed, level
        As `judge_features` takes them.
    most
        Features in the sparse map of a contrast, chosen in training folds by orthogonal matching
        pursuit. An importance is the magnitude of a slope in units of both spreads.

    Raises
    ------
    InputError
        As `judge_features`, and for fewer than two contrasts.
    """
    question = ask_of(
        features,
        log_p,
        weights=weights,
        clusters=clusters,
        n_folds=n_folds,
        seed=seed,
        level=level,
    )
    array, design, Z = question.features, question.design, question.log_odds
    if Z.shape[1] < 2:
        raise InputError("There is one contrast; whether features are entangled needs two or more.")
    choices = choose(array, feature_moments(array, Z, design), Z, design, most)
    parts = []
    for k in range(design.n_folds):
        numbers = np.unique(np.concatenate([one.numbers[k] for one in choices]))
        R = np.zeros((len(numbers), Z.shape[1]))
        for j, one in enumerate(choices):
            R[np.searchsorted(numbers, one.numbers[k]), j] = _importance(
                array, one.numbers[k], Z[:, j], design, k
            )
        parts.append((disentanglement(R), *completeness(R)))
    values = np.array(parts).mean(axis=0)
    bare = [bare_estimate(float(v), level, design.n, design.n_clusters) for v in values]
    errors = chosen_errors(array, choices, Z, design)
    return Dci(
        bare[0],
        bare_estimate(float(values[1:].mean()), level, design.n, design.n_clusters),
        explained_share(errors, level),
        tuple(bare[1:]),
        question.contrast_names,
        extractor,
        layer,
    )


def disentanglement(R: npt.ArrayLike) -> float:
    """Mean over features (rows of R (m, q)) of one less relative entropy, by their importance."""
    R = np.asarray(R, np.float64)
    weight = R.sum(axis=1) / R.sum()
    return float(weight @ _concentration(R))


def completeness(R: npt.ArrayLike) -> FloatArray:
    """One less relative entropy of each contrast's importances (columns of R (m, q))."""
    return _concentration(np.asarray(R, np.float64).T)


def _concentration(rows: FloatArray) -> FloatArray:
    """One less the entropy of each row over its maximum; 0 for a row without importance."""
    total = rows.sum(axis=1, keepdims=True)
    p = np.divide(rows, total, out=np.full_like(rows, 1.0 / rows.shape[1]), where=total > 0)
    if rows.shape[1] == 1:
        return np.ones(len(rows))
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    return np.asarray(1.0 - entropy / np.log(rows.shape[1]))


def _importance(
    features: FeatureArray, numbers: npt.NDArray[np.int64], z: FloatArray, design: Design, k: int
) -> FloatArray:
    """Magnitudes of the slopes of fold ``k``'s sparse map, in units of both spreads."""
    train = design.folds != k
    root = np.sqrt(design.weights[train])[:, None]
    X = features.columns(numbers)[train]
    X = root * (X - np.average(X, axis=0, weights=design.weights[train]))
    target = root[:, 0] * (z[train] - np.average(z[train], weights=design.weights[train]))
    lengths = np.linalg.norm(X, axis=0)
    slopes = np.linalg.lstsq(X / np.where(lengths > 0, lengths, 1.0), target, rcond=None)[0]
    return np.asarray(np.abs(slopes) / np.linalg.norm(target))
