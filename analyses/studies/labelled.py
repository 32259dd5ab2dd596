"""Does a language model know what someone's own labels say, up to an affine map?

A model of words given labels is fitted to half of the texts; its exact posterior of the labels on
the other half, from the words alone, is what the states are held against.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from concept_ppl.analyses.designs import check_level
from concept_ppl.bridge import LanguageModel, States, extract, load_language_model, spread_sites
from concept_ppl.outputs import require_writable
from concept_ppl.posteriors import posterior
from concept_ppl.reports import build_manifest, write_report

from .labelled_report import labelled_report
from .labelled_texts import LabelledTexts, read_labelled
from .labelled_words import fit_words
from .language import BAGS, HEADLINE, LAST_TOKEN, ChosenSites
from .stages import Progress, Stage
from .state_analyses import Design, StateAnalyses, analyse_states, varying_log_odds
from .state_report import REPORT_FILES


@dataclass(frozen=True)
class LabelledStudy:
    """What the study is to do.

    Attributes
    ----------
    language_model : str
        As :func:`concept_ppl.bridge.load_language_model` takes it.
    labels : tuple of str
        Columns of labels; all but the text and the cluster by default.
    cluster : str or None
        A column that says which texts belong together.
    n_blocks : int
        How many blocks of the model to read, evenly spaced.
    seed : int
        Of the halves, folds, shuffles and random weights.
    level : float
        Of the intervals.
    device : str
        Where the language model runs.
    """

    language_model: str = "smollm2"
    labels: tuple[str, ...] = ()
    cluster: str | None = None
    n_blocks: int = 6
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"


def run_labelled_study(
    study: LabelledStudy,
    table: str | Path,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    force: bool = False,
) -> Path:
    """Run the study on a CSV and write its report; return the path of the page.

    Raises
    ------
    InputError, LanguageModelError
        If the table, an argument, the language model or the folder is not usable; all but the
        language model are looked at before any work.
    """
    check_level(study.level)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    labelled = read_labelled(table, labels=study.labels, cluster=study.cluster)
    training, test = labelled.halves(study.seed)
    with stage("fit words given labels, compute exact posteriors") as progress:
        words = fit_words(training, study.seed)
        frame = posterior(words.program(), words.contexts(test), progress=progress).to_frame()
    varying_log_odds(frame, "the fitted model")
    with stage("load the language model"):
        trained = load_language_model(study.language_model, device=study.device)
    states = _read(trained, test, study, stage, "read its states")
    with stage("draw random weights"):
        untrained = load_language_model(
            study.language_model, device=study.device, random_weights=study.seed
        )
    random_states = _read(untrained, test, study, stage, "read states of random weights")
    sites = spread_sites(trained, study.n_blocks)
    del trained, untrained
    design = Design(test.clusters, seed=study.seed, level=study.level)
    with stage("analyse") as progress:
        answers = _analyse(states, random_states, sites, frame, design, progress)
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds=dict.fromkeys(("halves", "folds", "random weights"), study.seed),
        inputs={"texts": Path(table)},
        language_model=states.provenance,
    )
    report = labelled_report(study.language_model, answers, words, test, frame, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)


def _read(
    language_model: LanguageModel,
    test: LabelledTexts,
    study: LabelledStudy,
    stage: Stage,
    name: str,
) -> States:
    sites = (*spread_sites(language_model, study.n_blocks), *BAGS.values())
    with stage(name) as progress:
        return extract(language_model, test.texts, sites=sites, progress=progress)


def _analyse(
    states: States,
    random_states: States,
    sites: tuple[str, ...],
    frame: pd.DataFrame,
    design: Design,
    progress: Progress,
) -> StateAnalyses:
    controls = {name: states[site] for name, site in BAGS.items()}
    controls[LAST_TOKEN] = states["embedding"]
    return analyse_states(
        ChosenSites(states, sites),
        frame,
        design,
        headline=HEADLINE,
        controls=controls,
        random_states=ChosenSites(random_states, sites),
        progress=progress,
    )
