"""Worlds whose answer is known: states made from the log-odds by a rule that the test chooses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.studies.stages.state_analyses import Design, StateAnalyses, analyse_states
from concept_ppl.contexts.posterior_tables import log_odds

N, WIDTH = 400, 8


@dataclass(frozen=True)
class World:
    """Two concepts, of three and two values, and the exact log-odds of each context."""

    posterior: pd.DataFrame
    rng: np.random.Generator

    @property
    def odds(self) -> NDArray[np.float64]:
        return log_odds(self.posterior).to_numpy(np.float64)

    def noise(self, scale: float = 1.0, width: int = WIDTH) -> NDArray[np.float32]:
        return (scale * self.rng.normal(size=(len(self.posterior), width))).astype(np.float32)

    def image(self, source: NDArray[Any], noise: float) -> NDArray[np.float32]:
        """An affine image with every direction, plus noise."""
        A = self.rng.normal(size=(source.shape[1], WIDTH))
        return (source @ A + 3).astype(np.float32) + self.noise(noise)


def planted_world(n: int = N, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    columns = {}
    for concept, labels in {"topic": "abc", "mood": "uv"}.items():
        logits = np.column_stack([np.zeros(n), rng.normal(size=(n, len(labels) - 1))])
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        columns |= {f"log_p.{concept}.{k}": log_p[:, i] for i, k in enumerate(labels)}
    return World(pd.DataFrame(columns), rng)


def analyse(
    world: World, states: dict[str, NDArray[np.float32]], headline: str = "final", **options: Any
) -> StateAnalyses:
    n = len(world.posterior)
    options = {"controls": {}} | options
    return analyse_states(
        states, world.posterior, Design(np.arange(n)), headline=headline, **options
    )
