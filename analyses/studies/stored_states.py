"""Are stored states an affine image of a stored log-posterior (``concept-ppl analyse``)?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge import States, load_states
from concept_ppl.errors import InputError
from concept_ppl.posterior_tables import read_posterior
from concept_ppl.reports import Report, build_manifest, write_report

from .language import BAGS, HEADLINE, LAST_TOKEN, Stage
from .state_analyses import Design, analyse_states, cluster_by_row
from .state_report import (
    controls_section,
    invertibility_section,
    key_figures,
    layers_section,
    methods_section,
    posterior_section,
    tables_section,
    verdict,
)

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
        If a file is missing or wrong, or rows do not match.
    """
    states, table = load_states(states_folder), read_posterior(posterior_path)
    if len(states) != len(table):
        raise InputError(
            f"{states_folder} holds {len(states):,} states, {posterior_path} {len(table):,} rows; "
            f"extract and posterior must have read the same contexts."
        )
    sites = [name for name in states.sites if name not in BAGS.values()]
    if not sites:
        raise InputError(f"{states_folder} holds pooled embeddings only; extract a layer too.")
    headline = site or (HEADLINE if HEADLINE in sites else sites[-1])
    controls = _controls(states, headline)
    for name, path in others.items():
        other = load_states(path)
        controls[name] = other[headline]
    design = Design(cluster_by_row(states[sites[-1]]), seed=seed, level=level)
    with stage("analyse") as progress:
        answers = analyse_states(
            {name: states[name] for name in sites},
            table,
            design,
            headline=headline,
            controls=controls,
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
        verdict=verdict(answers),
        key_figures=key_figures(answers),
        sections=[
            controls_section(answers),
            layers_section(answers),
            invertibility_section(answers),
            posterior_section(answers),
            tables_section(answers),
        ],
        results=answers.tidy(),
        manifest=manifest,
        methods=methods_section(answers),
    )
    return write_report(report, folder, force=force)


def _controls(states: States, headline: str) -> Arrays:
    controls = {name: states[site] for name, site in BAGS.items() if site in states.sites}
    if "embedding" in states.sites and headline != "embedding":
        controls[LAST_TOKEN] = states["embedding"]
    return controls
