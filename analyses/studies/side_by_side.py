"""How a study sets two models side by side: their states compared, their answers on one page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.model_agreement import CrossModel, cross_model
from concept_ppl.errors import InputError
from concept_ppl.reports import Section, Table

MOST_COMPONENTS = 50
"""Principal components of each model that the comparison of whole states is made in."""
ROWS_PER_COMPONENT = 4
N_DIRECTIONS = 10

AGREEMENT = {"r2": "R²", "rho2": "squared canonical correlation", "rho2_mean": "their mean"}


def check_language_models(names: Sequence[str]) -> None:
    """Refuse more models than a page compares, and a model beside itself.

    Raises
    ------
    InputError
        If there is not one name, or two different ones.
    """
    if not 1 <= len(names) <= 2:
        raise InputError(f"Give one language model or two, not {len(names)}.")
    if len(set(names)) < len(names):
        raise InputError(
            f"{names[0]} is named twice; give one language model or two different ones."
        )


def names_on_page(names: Sequence[str]) -> dict[str, str]:
    """Name of each model on a page → what loads it: the last part of a path or hub id, if unique.

    Parameters
    ----------
    names
        As a user gives them: hub ids, folders, files, known names.
    """
    short = [Path(name).stem if name.endswith(".gguf") else Path(name).name for name in names]
    if len(set(short)) < len(names) or not all(short):
        short = list(names)
    return dict(zip(short, names, strict=True))


class _Read(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def provenance(self) -> dict[str, Any]: ...


def provenance_of(models: Sequence[_Read]) -> dict[str, Any]:
    """Where the states come from: of the one model, or of each by its name."""
    if len(models) == 1:
        return models[0].provenance
    return {model.name: model.provenance for model in models}


def state_agreement(
    states: Sequence[NDArray[np.float32]],
    *,
    names: tuple[str, str],
    clusters: NDArray[np.int64],
    layer: str,
    seed: int,
    level: float,
) -> CrossModel:
    """How far two models' states are an affine image of each other, in their leading components.

    Components are those of all rows: which directions vary most is asked without looking at the
    other model, so that nothing leaks; the maps between them are held out.

    Parameters
    ----------
    states
        Two arrays (n, d1) and (n, d2), rows the same.
    names, clusters, layer, seed, level
        As `cross_model` takes them.
    """
    first, second = (_leading(part) for part in states)
    return cross_model(
        first,
        second,
        n_directions=min(N_DIRECTIONS, first.shape[1], second.shape[1]),
        clusters=clusters,
        names=names,
        layer=layer,
        seed=seed,
        level=level,
    )


def agreement_table(caption: str, found: CrossModel) -> Table:
    """Both R² and the shared directions; no coordinates, which mean nothing in such states."""
    rows = found.tidy()
    rows = rows[rows["quantity"].isin(list(AGREEMENT))]
    of = [
        term if quantity == "r2" else term.rpartition(":")[2].replace("_", " ")
        for quantity, term in zip(rows["quantity"], rows["term"], strict=True)
    ]
    rows = rows.assign(quantity=rows["quantity"].map(AGREEMENT), of=of)
    rows.loc[rows["quantity"] == AGREEMENT["rho2_mean"], "of"] = "all directions"
    return Table(
        caption,
        rows[["quantity", "of", "estimate", "ci_low", "ci_high"]],
        note="Held out. R² of the one named first, given the other.",
    )


def _leading(states: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores of the leading principal components, few enough for a map between them."""
    centred = states.astype(np.float64) - states.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    count = min(MOST_COMPONENTS, max(len(states) // ROWS_PER_COMPONENT, 1), states.shape[1])
    return np.asarray(centred @ axes[:, ::-1][:, :count])


def sections_of(sections: Sequence[Section], name: str, number: int) -> list[Section]:
    """Name a model's sections after it, and its figures, which name files, by its number."""
    return [
        replace(
            section,
            heading=f"{section.heading}: {name}",
            figures=[replace(figure, name=f"{figure.name}-{number}") for figure in section.figures],
        )
        for section in sections
    ]


def results_of(results: pd.DataFrame, name: str) -> pd.DataFrame:
    """Name the analyses of a model's results after it."""
    return results.assign(analysis=f"{name}: " + results["analysis"])
