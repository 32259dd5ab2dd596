"""Is an extractor faithful to the states, so that it cannot win by throwing them away?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import check_level, check_states
from concept_ppl.analyses.designs.design import make_whole_design
from concept_ppl.analyses.designs.shares import cluster_mean, difference
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, bare_estimate
from concept_ppl.errors import InputError

from .feature_arrays import Features, check_features


@dataclass(frozen=True, slots=True)
class Reconstruction(Result):
    """How much of the states comes back, out of how many active features.

    Attributes
    ----------
    explained
        Share of the states' variance that the reconstruction explains, 1 − Σ|F − F̂|²/Σ|F − F̄|².
    active
        Mean number of features that are not zero in a context (L0).
    dead
        Share of features that are zero in every context; a description of these contexts.
    cosine
        Mean cosine of state and reconstruction, both less the mean state.
    extractor, layer
        Labels that the caller gave.
    """

    explained: Estimate
    active: Estimate
    dead: Estimate
    cosine: Estimate
    extractor: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"States and their reconstruction{' by ' + self.extractor if self.extractor else ''}"

    def rows(self) -> Iterator[Row]:
        """Yield the four numbers."""
        for name, value in self._entries():
            yield Row("reconstruction", name, "all", value, self.layer, self.extractor)

    def lines(self) -> list[str]:
        """List the four numbers."""
        return [f"  {name}  {value}" for name, value in self._entries()]

    def panel(self) -> Panel:
        """Forest plot of the shares."""
        entries = [(name, value) for name, value in self._entries() if name != "l0"]
        return forest(entries, "share")

    def _entries(self) -> list[tuple[str, Estimate]]:
        return [
            ("explained_variance", self.explained),
            ("l0", self.active),
            ("dead_share", self.dead),
            ("cosine", self.cosine),
        ]


def reconstruction(
    F: npt.ArrayLike,
    F_hat: npt.ArrayLike,
    features: Features,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    extractor: str = "",
    layer: str = "",
    level: float = 0.95,
) -> Reconstruction:
    """Compare states with what an extractor makes of them; it must not have been fitted to them.

    Parameters
    ----------
    F, F_hat
        (n, d) states and reconstructions, in the states' own units.
    features
        (n, m) what the reconstruction is made of.
    weights, clusters, extractor, layer, level
        As `judge_features` takes them.

    Raises
    ------
    InputError
        If arrays do not match or hold entries that are not finite, or the states do not vary.
    """
    check_level(level)
    states, made = check_states(F), check_states(F_hat, "F_hat")
    if states.shape != made.shape:
        raise InputError(f"F_hat has shape {made.shape}, F {states.shape}; give one for the other.")
    array = check_features(features, len(states))
    design = make_whole_design(len(states), weights=weights, clusters=clusters)
    centre = np.average(states, axis=0, weights=design.weights)
    spread = np.square(states - centre).sum(axis=1)
    if not spread.any():
        raise InputError("F does not vary: every row is the same state.")
    left = np.square(states - made).sum(axis=1)
    counts, seen = np.zeros(len(states)), 0
    for _, part in array.blocks():
        active = part != 0
        counts += active.sum(axis=1)
        seen += int(active.any(axis=0).sum())
    lengths = np.sqrt(spread * np.square(made - centre).sum(axis=1))
    products = ((states - centre) * (made - centre)).sum(axis=1)
    cosines = np.divide(products, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    dead = bare_estimate(1.0 - seen / array.shape[1], level, design.n, design.n_clusters)
    return Reconstruction(
        difference(spread - left, spread, design, level),
        cluster_mean(counts, design, level),
        dead,
        cluster_mean(cosines, design, level),
        extractor,
        layer,
    )
