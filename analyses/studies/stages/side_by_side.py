"""How a study sets two models side by side: their states compared, their answers on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.agreement.model_agreement import CrossModel, cross_model
from concept_ppl.analyses.results.rows import Estimate
from concept_ppl.bridge import find_language_model
from concept_ppl.bridge.anatomy.sites import block_number
from concept_ppl.errors import InputError
from concept_ppl.reports import Figure, Section, Table, control_forest, layer_curve

from .announcements import Stage

MOST_COMPONENTS = 50
"""Principal components of each model that the comparison of whole states is made in."""
ROWS_PER_COMPONENT = 4
N_DIRECTIONS = 10

AGREEMENT = {"r2": "R²", "rho2": "squared canonical correlation", "rho2_mean": "their mean"}

DRAWN = ("estimate", "ci_low", "ci_high", "ci_level", "p_value")


def check_language_models(names: Sequence[str], stage: Stage, most: int | None = 2) -> None:
    """Refuse more models than a page compares, a model beside itself, and one that is not there.

    Raises
    ------
    InputError
        If there is no name, one too many (``most`` is None for any number), or one twice.
    LanguageModelError
        If a model cannot be found.
    """
    if not names or (most is not None and len(names) > most):
        raise InputError(f"Give one language model or two, not {len(names)}.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{twice[0]} is named twice; give different language models.")
    with stage("find the language model"):
        for name in names:
            find_language_model(name)


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


def two_models_forest(
    levels: Sequence[tuple[str, Estimate]],
    differences: Sequence[tuple[str, Estimate]],
    titles: tuple[str, str],
    *,
    layer: str,
) -> Figure:
    """Draw both models and their best controls, the first model solid, above paired differences.

    Parameters
    ----------
    levels, differences
        What to call each line, and its estimate.
    titles
        Above each of the two parts.
    layer
        Where the states are read.
    """
    first, value = levels[0]
    upper = pd.DataFrame([{"control": name} | _drawn(one) for name, one in levels])
    lower = pd.DataFrame([{"quantity": name} | _drawn(one) for name, one in differences])
    return control_forest(
        upper,
        lower,
        model=first,
        labels={first: first},
        levels_title=titles[0],
        differences_title=titles[1],
        name="two_models",
        caption=f"Both models, the best control of each, then paired differences, all at {layer}. "
        f"Bars: {100 * value.ci_level:g}% intervals.",
    )


def _drawn(value: Estimate) -> dict[str, float]:
    return {name: getattr(value, name) for name in DRAWN}


def two_depths(curves: Mapping[str, pd.DataFrame], quantities: Mapping[str, str]) -> Figure:
    """Draw two models along their depth, in per cent of their blocks: they may differ in number.

    Parameters
    ----------
    curves
        Tidy rows of each model by its name, their layers named as the bridge names sites.
    quantities
        Which to draw, from the top, and the title of each panel.
    """
    first, second = curves
    frames = [
        _by_depth(rows).assign(control="" if name == first else second)
        for name, rows in curves.items()
    ]
    rows = pd.concat(frames, ignore_index=True)
    return layer_curve(
        rows,
        quantities=quantities,
        reference=second,
        labels=(first, second),
        axis="depth, % of the blocks",
        name="two_depths",
        caption=f"Both models along their depth. Bands: {100 * rows['ci_level'].iloc[0]:g}% "
        f"intervals, each for its layer alone.",
    )


def _by_depth(rows: pd.DataFrame) -> pd.DataFrame:
    """Name blocks by their share of the model's blocks, in per cent."""
    blocks = {site: block_number(site) for site in rows["layer"].unique()}
    last = max(number for number in blocks.values() if number is not None)
    depth = {
        site: site if number is None else f"{np.round(100 * number / last):.0f}"
        for site, number in blocks.items()
    }
    return rows.assign(layer=rows["layer"].map(depth))


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
