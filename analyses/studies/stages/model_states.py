"""A language model's states of the texts of a study, the same with random weights, and controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.bridge import LanguageModel, States, extract, load_language_model, spread_sites

from .announcements import Progress, Stage
from .state_analyses import Design, StateAnalyses, analyse_states

HEADLINE = "final_norm"
"""The state that the unembedding reads: f(x) in the theory. Named before any data."""
BAGS = {"bag of tokens, sum": "embedding.sum", "bag of tokens, mean": "embedding.mean"}
LAST_TOKEN = "last token"


class ChosenSites(Mapping[str, NDArray[np.float32]]):
    """Some sites of a ``States`` as a mapping that reads each when it is asked for."""

    def __init__(self, states: States, sites: tuple[str, ...]) -> None:
        self._states, self._sites = states, sites

    def __getitem__(self, site: str) -> NDArray[np.float32]:
        return self._states[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)


@dataclass(frozen=True, eq=False)
class ModelStates:
    """What a study reads from one language model.

    Attributes
    ----------
    name : str
        What the page calls it.
    trained, untrained : States
        Of the model, and of the same architecture with random weights; bags of tokens among them.
    sites : tuple of str
        Those of the layer curve, in the order in which the model computes them.
    """

    name: str
    trained: States
    untrained: States
    sites: tuple[str, ...]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the trained states come from."""
        return self.trained.provenance

    def analyse(
        self,
        posterior: pd.DataFrame,
        design: Design,
        *,
        values: Mapping[str, Sequence[object]] | None = None,
        progress: Progress,
    ) -> StateAnalyses:
        """Hold the states against a posterior table, as `analyse_states` does, beside controls."""
        controls = {name: self.trained[site] for name, site in BAGS.items()}
        controls[LAST_TOKEN] = self.trained["embedding"]
        return analyse_states(
            ChosenSites(self.trained, self.sites),
            posterior,
            design,
            headline=HEADLINE,
            controls=controls,
            random_states=ChosenSites(self.untrained, self.sites),
            values=values,
            progress=progress,
        )


def read_model_states(
    source: str,
    texts: Sequence[str],
    *,
    name: str = "",
    n_blocks: int,
    seed: int,
    device: str,
    stage: Stage,
) -> ModelStates:
    """Read the states of each text's last token, with the model's weights and with random ones.

    Parameters
    ----------
    source
        As :func:`concept_ppl.bridge.load_language_model` takes it.
    texts
        The contexts.
    name
        What the page calls the model; as its source by default.
    n_blocks
        How many blocks to read, evenly spaced.
    seed, device
        Of the random weights; where the model runs.
    stage
        Shows how far the work is.
    """
    name = name or source
    with stage(f"load {name}"):
        trained = load_language_model(source, device=device)
    sites = spread_sites(trained, n_blocks)
    states = _read(trained, texts, sites, stage, f"read states of {name}")
    del trained
    with stage("draw random weights"):
        untrained = load_language_model(source, device=device, random_weights=seed)
    random_states = _read(untrained, texts, sites, stage, "read states with random weights")
    return ModelStates(name, states, random_states, sites)


def _read(
    model: LanguageModel, texts: Sequence[str], sites: tuple[str, ...], stage: Stage, name: str
) -> States:
    with stage(name) as progress:
        return extract(model, list(texts), sites=(*sites, *BAGS.values()), progress=progress)
