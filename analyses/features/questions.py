"""What every question about features begins with: checked arrays, folds, named contrasts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.claim.form_checks import check_concepts
from concept_ppl.analyses.claim.power_path import contrasts
from concept_ppl.analyses.designs.arrays import FloatArray, check_level, varies
from concept_ppl.analyses.designs.design import Design, make_design
from concept_ppl.errors import InputError

from .feature_arrays import FeatureArray, Features, check_features


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Features, and the exact log-posteriors that they are held against.

    Attributes
    ----------
    features
        (n, m), checked.
    concepts
        For each concept (n, K) log-probabilities.
    value_names
        Of all values of all concepts: ``concept: value``.
    design
        Weights, clusters and folds.
    """

    features: FeatureArray
    concepts: tuple[FloatArray, ...]
    value_names: tuple[str, ...]
    design: Design

    @property
    def log_odds(self) -> FloatArray:
        """Contrasts (n, q) of the log-posterior, each of mean 0 and spread 1."""
        return standardised(contrasts(self.concepts, 0.0), self.design)

    @property
    def contrast_names(self) -> tuple[str, ...]:
        """Names of the contrasts: of all values but the first of each concept."""
        firsts = np.cumsum([0, *(table.shape[1] for table in self.concepts)])
        return tuple(name for i, name in enumerate(self.value_names) if i not in firsts)


def ask_of(
    features: Features,
    log_p: Mapping[str, npt.ArrayLike],
    *,
    weights: npt.ArrayLike | None,
    clusters: npt.ArrayLike | None,
    n_folds: int,
    seed: int,
    level: float,
) -> Question:
    """Check features, log-posteriors and design against each other; see `judge_features`.

    Raises
    ------
    InputError
        If there is no concept, arrays do not match or are not finite, or an option is out of range.
    """
    check_level(level)
    if not log_p:
        raise InputError("log_p names no concept; give its log-probabilities.")
    tables = {name: np.asarray(table) for name, table in log_p.items()}
    n = len(next(iter(tables.values())))
    array = check_features(features, n)
    design = make_design(n, weights=weights, clusters=clusters, n_folds=n_folds, seed=seed)
    concepts = check_concepts(list(tables.values()), n)
    names = []
    for name, checked in zip(log_p, concepts, strict=True):
        columns = getattr(log_p[name], "columns", range(checked.shape[1]))
        names += [f"{name}: {str(column).rpartition('.')[2]}" for column in columns]
    return Question(array, concepts, tuple(names), design)


def standardised(Z: FloatArray, design: Design) -> FloatArray:
    """Return targets of weighted mean 0 and spread 1, so that each counts alike.

    Raises
    ------
    InputError
        If one does not vary.
    """
    mean = np.average(Z, axis=0, weights=design.weights)
    spread = np.sqrt(np.average(np.square(Z - mean), axis=0, weights=design.weights))
    flat = np.flatnonzero(~varies(spread, Z))
    if flat.size:
        raise InputError(f"Contrast {flat[0]} of log_p does not vary over the contexts.")
    return np.asarray((Z - mean) / spread)
