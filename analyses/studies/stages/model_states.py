"""A language model's states of the texts of a study, the same with random weights, and controls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses import ReaderFamily, random_vectors, token_readers, token_rows
from concept_ppl.bridge import (
    LanguageModel,
    Readers,
    States,
    extract,
    input_embedding_rows,
    load_language_model,
    read_tokens,
    readers_on,
    resolve_sites,
    spread_sites,
)
from concept_ppl.bridge.extraction.positions import Positions
from concept_ppl.distributed import Crew

from .announcements import Progress, Stage
from .state_analyses import EXACT, Control, Design, StateAnalyses, analyse_states

HEADLINE = "final_norm"
"""The state that the unembedding reads: f(x) in the theory. Named before any data."""
BAGS = {"bag of tokens, sum": "embedding.sum", "bag of tokens, mean": "embedding.mean"}
LAST_TOKEN = "last token"
EMBEDDINGS, IDENTITIES = "input embeddings", "token identities"
CEILING = "ceiling"
LOOK_UP = "look-up"
"""The rule that in-context learning has to find: not without learning, but hard-wired here."""


@dataclass(frozen=True)
class Where:
    """At which tokens of its texts a study reads states; see `concept_ppl.bridge.extract`."""

    positions: Positions = "last"
    marks: Sequence[Sequence[int]] | None = None


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
    readers : mapping of str to family
        What needs no learning, made of the model's own tokens and input embeddings; a look-up among
        them is no control but a rule.
    """

    name: str
    trained: States
    untrained: States
    sites: tuple[str, ...]
    readers: Mapping[str, ReaderFamily] = field(default_factory=dict)

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
        controls: Mapping[str, Control] | None = None,
        posterior_is: str = EXACT,
        progress: Progress,
    ) -> StateAnalyses:
        """Hold the states against a posterior table, as `analyse_states` does.

        The controls are the readers of the model's own tokens and what else is given.
        """
        every: dict[str, Control] = {**self.readers, **(controls or {})}
        return analyse_states(
            ChosenSites(self.trained, self.sites),
            posterior,
            design,
            headline=HEADLINE,
            controls={name: one for name, one in every.items() if not is_rule(name)},
            rules={name: one for name, one in every.items() if is_rule(name)},
            random_states=ChosenSites(self.untrained, self.sites),
            values=values,
            posterior_is=posterior_is,
            progress=progress,
        )


def is_rule(name: str) -> bool:
    """Whether this stands beside a model without being a control that needs no learning.

    Such are a look-up, which is the mechanism to be learned, and the best predictor of the world.
    """
    return name.endswith((LOOK_UP, CEILING))


def named(kind: str, families: Mapping[str, ReaderFamily]) -> dict[str, ReaderFamily]:
    """Name families of readers after the vectors that they are made of."""
    return {f"{kind}: {name}": family for name, family in families.items()}


def read_model_states(
    source: str,
    texts: Sequence[str],
    *,
    name: str = "",
    n_blocks: int,
    sites: str = "",
    where: Where = Where(),
    seed: int,
    device: str,
    stage: Stage,
    crew: Crew | None = None,
    while_loaded: Callable[[LanguageModel, States], Any] | None = None,
) -> ModelStates:
    """Read the states of each text, with the model's weights and with random ones.

    Parameters
    ----------
    source
        As :func:`concept_ppl.bridge.load_language_model` takes it.
    texts
        The contexts.
    name
        What the page calls the model; as its source by default.
    n_blocks
        How many blocks to read, evenly spaced, where ``sites`` names none.
    sites
        As :func:`concept_ppl.bridge.resolve_sites` takes them; the headline's is read in any case.
    where
        At which tokens; the last of each text by default.
    seed, device
        Of the random weights; where the model runs.
    stage
        Shows how far the work is.
    crew
        Who reads beside this process, each with a language model of its own.
    while_loaded
        Called with the model and its states before it is let go: the trained one, then the other.
    """
    name = name or source
    with stage(f"load {name}"):
        trained = load_language_model(source, device=device)
    chosen = _layers(trained, sites) if sites else spread_sites(trained, n_blocks)
    readers = readers_on(crew, source, device=device)
    states = _read(trained, texts, chosen, where, stage, f"read states of {name}", readers)
    controls = token_controls(trained, texts, where, seed)
    if while_loaded is not None:
        while_loaded(trained, states)
    del trained
    with stage("draw random weights"):
        untrained = load_language_model(source, device=device, random_weights=seed)
    readers = readers_on(crew, source, device=device, random_weights=seed)
    random_states = _read(
        untrained, texts, chosen, where, stage, "read states with random weights", readers
    )
    if while_loaded is not None:
        while_loaded(untrained, random_states)
    return ModelStates(name, states, random_states, chosen, controls)


def token_controls(
    language_model: LanguageModel, texts: Sequence[str], where: Where, seed: int
) -> dict[str, ReaderFamily]:
    """Return readers of a model's tokens: of their input embeddings, and of which they are."""
    read = read_tokens(language_model, texts, positions=where.positions, marks=where.marks)
    rows = token_rows(read.tokens, read.lengths, read.read)
    kinds, index = np.unique(read.tokens, return_inverse=True)
    embeddings = input_embedding_rows(language_model, kinds)[index]
    return named(EMBEDDINGS, token_readers(rows, embeddings)) | named(
        IDENTITIES, token_readers(rows, random_vectors(read.tokens, seed=seed))
    )


def _layers(language_model: LanguageModel, sites: str) -> tuple[str, ...]:
    chosen = [site for site in resolve_sites(language_model, sites) if site not in BAGS.values()]
    if HEADLINE not in chosen:
        chosen.append(HEADLINE)
    return tuple(site for site in language_model.sites if site in chosen)


def _read(
    model: LanguageModel,
    texts: Sequence[str],
    sites: tuple[str, ...],
    where: Where,
    stage: Stage,
    name: str,
    readers: Readers | None,
) -> States:
    with stage(name) as progress:
        return extract(
            model,
            list(texts),
            sites=sites,
            positions=where.positions,
            marks=where.marks,
            readers=readers,
            progress=progress,
        )
