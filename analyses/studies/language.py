"""Does a language model know which language it reads, as a linear image of the exact log-posterior?

Words are drawn from the real unigram frequencies of several languages; a Pyro program says so, and
gives the exact posterior of the language for each context. A language model reads the same words.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.designs import check_level
from concept_ppl.bridge import LanguageModel, States, extract, load_language_model, spread_sites
from concept_ppl.contexts import as_contexts
from concept_ppl.errors import InputError
from concept_ppl.generative import load_model
from concept_ppl.outputs import require_writable
from concept_ppl.posteriors import posterior
from concept_ppl.reports import build_manifest, write_report
from concept_ppl.simulation import simulate

from .language_report import language_report
from .stages import Progress, Stage
from .state_analyses import Design, StateAnalyses, analyse_states
from .state_report import REPORT_FILES

WORLDS = {"fixed": "word_languages", "switching": "switching_languages"}
HEADLINE = "final_norm"
"""The state that the unembedding reads: f(x) in the theory. Named before any data."""
BAGS = {"bag of tokens, sum": "embedding.sum", "bag of tokens, mean": "embedding.mean"}
LAST_TOKEN = "last token"


@dataclass(frozen=True)
class LanguageStudy:
    """What the study is to do.

    Attributes
    ----------
    world : str
        ``fixed``: one language a context. ``switching``: it may change at every word, and the state
        is read at a closing comma.
    language_model : str
        As :func:`concept_ppl.bridge.load_language_model` takes it.
    languages : tuple of str
        Codes of wordfreq.
    n_contexts, top : int
        Contexts, and words per language in the vocabulary.
    n_blocks : int
        How many blocks of the model to read, evenly spaced.
    seed : int
        Of contexts, folds, shuffles and random weights.
    level : float
        Of the intervals.
    device : str
        Where the language model runs.
    """

    world: str = "switching"
    language_model: str = "smollm2"
    languages: tuple[str, ...] = ("en", "fr", "de", "es", "it")
    n_contexts: int = 3000
    top: int = 3000
    n_blocks: int = 6
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"


def run_language_study(
    study: LanguageStudy,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    force: bool = False,
) -> Path:
    """Run the study and write its report; return the path of the page.

    Raises
    ------
    InputError, ModelError, LanguageModelError
        If an argument, the world, the language model or the folder is not usable; all but the
        language model are looked at before any work.
    """
    if study.world not in WORLDS:
        raise InputError(f"world '{study.world}' is unknown; choose {' or '.join(WORLDS)}.")
    check_level(study.level)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    contexts, table = _world(study, stage)
    with stage("load the language model"):
        trained = load_language_model(study.language_model, device=study.device)
    states = _read(trained, contexts, study, stage, "read its states")
    provenance = states.provenance
    with stage("draw random weights"):
        untrained = load_language_model(
            study.language_model, device=study.device, random_weights=study.seed
        )
    random_states = _read(untrained, contexts, study, stage, "read states of random weights")
    design = Design(_clusters(contexts), seed=study.seed, level=study.level)
    sites = spread_sites(trained, study.n_blocks)
    del trained, untrained
    with stage("analyse") as progress:
        answers = _analyse(states, random_states, sites, contexts, table, design, progress)
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds={"contexts": study.seed, "folds": study.seed, "random weights": study.seed},
        inputs={},
        language_model=provenance,
    )
    report = language_report(study.world, study.language_model, answers, contexts, table, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)


def _world(study: LanguageStudy, stage: Stage) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate contexts and compute their exact posterior table."""
    with stage("simulate contexts, compute exact posteriors") as progress:
        model = load_model(WORLDS[study.world], languages=study.languages, top=study.top)
        contexts = simulate(model, study.n_contexts, seed=study.seed)
        table = posterior(model, contexts, progress=progress).to_frame()
    return contexts, table


def _read(
    language_model: LanguageModel,
    contexts: pd.DataFrame,
    study: LanguageStudy,
    stage: Stage,
    name: str,
) -> States:
    sites = (*spread_sites(language_model, study.n_blocks), *BAGS.values())
    with stage(name) as progress:
        return extract(language_model, list(contexts["text"]), sites=sites, progress=progress)


def _clusters(contexts: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of each row's distinct context: repeats are one unit, never data."""
    return as_contexts(contexts).unique()[1]


def _analyse(
    states: States,
    random_states: States,
    sites: tuple[str, ...],
    contexts: pd.DataFrame,
    table: pd.DataFrame,
    design: Design,
    progress: Progress,
) -> StateAnalyses:
    controls = {name: states[site] for name, site in BAGS.items()}
    controls[LAST_TOKEN] = states["embedding"]
    return analyse_states(
        ChosenSites(states, sites),
        table,
        design,
        headline=HEADLINE,
        controls=controls,
        random_states=ChosenSites(random_states, sites),
        values={"language": _final(contexts["language"])},
        progress=progress,
    )


def _final(values: pd.Series) -> list[str]:
    """Return each context's value where its state is read: the last one, where it moves."""
    return [value if isinstance(value, str) else value[-1] for value in values]


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
