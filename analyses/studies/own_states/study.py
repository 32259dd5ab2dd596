"""Are stored states an affine image of a stored log-posterior (``concept-ppl analyse``)?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.control_states import control_states
from concept_ppl.analyses.studies.stages.model_states import BAGS, HEADLINE, LAST_TOKEN, ChosenSites
from concept_ppl.analyses.studies.stages.posterior_contrasts import varying_log_odds
from concept_ppl.analyses.studies.stages.row_clusters import cluster_by_states
from concept_ppl.analyses.studies.stages.state_analyses import GIVEN, Design, analyse_states
from concept_ppl.analyses.studies.stages.state_report import (
    REPORT_FILES,
    analysis_sections,
    key_figures,
    methods_section,
    verdict,
)
from concept_ppl.bridge import States, load_states
from concept_ppl.contexts.posterior_tables import read_posterior
from concept_ppl.errors import InputError, listed
from concept_ppl.outputs import require_writable
from concept_ppl.reports import Report, build_manifest, write_report

Arrays = dict[str, NDArray[np.float32]]


def analyse_stored(
    states_folder: str | Path,
    posterior_path: str | Path,
    folder: str | Path,
    *,
    site: str | None,
    others: Mapping[str, Path],
    command: Sequence[str],
    stage: Stage,
    seed: int = 0,
    level: float = 0.95,
    force: bool = False,
) -> Path:
    """Analyse a folder of states against a posterior file and write the report.

    Parameters
    ----------
    states_folder, posterior_path
        What ``extract`` and ``posterior`` wrote, rows in the same order. Pooled input embeddings in
        the folder serve as controls.
    folder
        Of the report.
    site
        The site whose state the headline is about; the final norm, or else the last one.
    others
        Further controls: name to a states folder, whose state at the same site is used.

    Raises
    ------
    InputError
        If a file is missing or wrong, rows do not match, or the report cannot be written.
    """
    check_level(level)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    states, table = load_states(states_folder), read_posterior(posterior_path)
    varying_log_odds(table, str(posterior_path))
    _require_rows(states, states_folder, len(table), posterior_path)
    sites = _sites(states, states_folder)
    headline = site or (HEADLINE if HEADLINE in sites else sites[-1])
    if headline not in sites:
        raise InputError(f"{states_folder} has no site '{headline}'; it has: {listed(sites)}.")
    controls = _controls(states, headline)
    for name, path in others.items():
        controls[name] = _control(path, headline, len(table), posterior_path)
    arrays = ChosenSites(states, tuple(sites))
    design = Design(cluster_by_states(arrays), seed=seed, level=level)
    _require_distinct(design, states_folder)
    with stage("analyse") as progress:
        answers = analyse_states(
            arrays,
            table,
            design,
            headline=headline,
            controls=controls,
            posterior_is=GIVEN,
            progress=progress,
        )
    manifest = build_manifest(
        command=list(command),
        arguments={"site": headline, "level": level, "others": dict(others)},
        seeds={"folds": seed},
        inputs={"states": Path(states_folder), "posterior": Path(posterior_path), **others},
        language_model=states.provenance,
    )
    report = Report(
        title="States and posterior",
        question="Are these states an invertible affine function of this log-posterior?",
        verdict=verdict(answers, unasked=_unasked(controls)),
        key_figures=key_figures(answers),
        sections=analysis_sections(answers),
        results=answers.tidy(),
        manifest=manifest,
        methods=methods_section(answers),
    )
    return write_report(report, folder, force=force)


def _require_rows(
    states: States, folder: str | Path, n_rows: int, posterior_path: str | Path
) -> None:
    if len(states) != n_rows:
        raise InputError(
            f"{folder} holds {len(states):,} states, {posterior_path} {n_rows:,} rows; extract and "
            f"posterior must have read the same contexts."
        )


def _sites(states: States, folder: str | Path) -> list[str]:
    """Name the sites that are a layer's, not a pooled control."""
    sites = [name for name in states.sites if name not in BAGS.values()]
    if not sites:
        raise InputError(f"{folder} holds pooled embeddings only; extract a layer too.")
    return sites


def _control(path: Path, site: str, n_rows: int, posterior_path: str | Path) -> NDArray[np.float32]:
    """Read a further control: another folder's states at the headline's site, or a matrix."""
    array = control_states(path, site)
    if len(array) != n_rows:
        raise InputError(
            f"{path} holds {len(array):,} states, {posterior_path} {n_rows:,} rows; extract and "
            f"posterior must have read the same contexts."
        )
    return array


def _require_distinct(design: Design, folder: str | Path) -> None:
    n_distinct = len(np.unique(design.clusters))
    if n_distinct < design.n_folds:
        raise InputError(
            f"{folder} holds the states of {n_distinct} distinct contexts, too few for "
            f"{design.n_folds} folds; give more contexts."
        )


def _unasked(controls: Arrays) -> str:
    """Name the controls that stored states cannot hold, and those that were not stored.

    What knows the order of tokens (the last words, sums in which older ones count less, products of
    neighbours) needs the tokens; the studies of worlds and texts ask it.
    """
    missing = [name for name in BAGS if name not in controls]
    return " and ".join([*missing, "readers of the order of tokens"])


def _controls(states: States, headline: str) -> Arrays:
    controls = {name: states[site] for name, site in BAGS.items() if site in states.sites}
    if "embedding" in states.sites and headline != "embedding":
        controls[LAST_TOKEN] = states["embedding"]
    return controls
