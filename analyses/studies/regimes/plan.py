"""Where does the claim hold? A map over what y tells of c, what x tells of c, and how wide f is.

Worlds of `topic_mixture`, whose contrasts are additive in the tokens, carry the map: exactly, from
the log-ratios of the Bayes predictive, and with networks trained on top. Worlds that are not
additive stand beside it: a concept that moves (`hidden_concepts`), and single concepts of a
dependent joint (`concept_dag`), whose other concepts are summed out.
"""

from itertools import product

from concept_ppl.analyses.studies.laboratory.cells import Cell
from concept_ppl.analyses.studies.laboratory.exact_worlds import CONCEPTS
from concept_ppl.analyses.studies.laboratory.measures import Training, World, cell
from concept_ppl.analyses.studies.laboratory.runs import Extent, LaboratoryStudy

from .report import regimes_report

ADDITIVE, MOVING, MARGINAL = "topic_mixture", "hidden_concepts", "concept_dag"
TOPICS, TOKENS, LENGTH = 4, 5, 4
RANK = TOPICS - 1
CONTROL_INFORMATIVENESS = 0.5
NOISY, COPY = 0.3, 1.0
CONTROLS = (NOISY, COPY)
PROCESS = -1.0
"""Stands for a next token that is one more token of the process, in place of a determinism."""

EXACT_DETERMINISM = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
EXACT_INFORMATIVENESS = (0.25, 0.5, 0.75, 0.95)
DETERMINISM, INFORMATIVENESS = (NOISY, 0.7, COPY), (0.25, 0.5, 0.95)
WIDTHS = (RANK - 1, RANK, 16)
FULL_DETERMINISM = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
FULL_INFORMATIVENESS = (0.1, 0.25, 0.5, 0.75, 0.95)
FULL_WIDTHS = (1, RANK - 1, RANK, 8, 16, 64)


def regimes_plan(extent: Extent) -> list[Cell]:
    """Return the cells of the map, of the trained networks on it, and of the other worlds."""
    return [*_exact(extent), *_trained(extent), *_wide(extent), *_not_additive(extent)]


def _exact(extent: Extent) -> list[Cell]:
    determinism = FULL_DETERMINISM if extent.full else EXACT_DETERMINISM
    informativeness = FULL_INFORMATIVENESS if extent.full else EXACT_INFORMATIVENESS
    return [
        cell(_additive(d, i, number), _knobs(ADDITIVE, d, i, 0, number))
        for d, i, number in product(determinism, informativeness, extent.world_numbers)
    ]


def _trained(extent: Extent) -> list[Cell]:
    """Networks as wide as the contrasts; the controls have all the seeds, the rest the first."""
    determinism = FULL_DETERMINISM if extent.full else DETERMINISM
    informativeness = FULL_INFORMATIVENESS if extent.full else INFORMATIVENESS
    return [
        _on_topics(d, i, RANK, number, seed, extent)
        for d, i, number in product(determinism, informativeness, extent.world_numbers)
        for seed in extent.seed_numbers
        if seed == 0 or extent.full or (d in CONTROLS and i == CONTROL_INFORMATIVENESS)
    ]


def _wide(extent: Extent) -> list[Cell]:
    widths = FULL_WIDTHS if extent.full else WIDTHS
    return [
        _on_topics(d, CONTROL_INFORMATIVENESS, width, number, 0, extent)
        for width, d, number in product(widths, CONTROLS, extent.world_numbers)
        if width != RANK
    ]


def _not_additive(extent: Extent) -> list[Cell]:
    cells = []
    for number, seed in product(
        extent.world_numbers, extent.seed_numbers if extent.full else range(1)
    ):
        for d in (*CONTROLS, PROCESS):
            told = {"y_determinism": None if d == PROCESS else d, "seed": number}
            world = World(MOVING, {"states": 3, "vocabulary": TOKENS, **told}, LENGTH)
            width = TOKENS - 1 if d == PROCESS else 2
            knobs = _knobs(MOVING, d, 0.8, width, number)
            cells.append(cell(world, knobs, training=_training(width, extent), seed=seed))
        for d in CONTROLS if extent.full else (COPY,):
            shape = {"cardinalities": [2, 2], "vocabulary": TOKENS, "x_informativeness": 0.8}
            parameters = {**shape, "y_determinism": d, "seed": number}
            world = World(MARGINAL, parameters, LENGTH, CONCEPTS)
            knobs = _knobs(MARGINAL, d, 0.8, RANK, number)
            cells.append(cell(world, knobs, training=_training(RANK, extent), seed=seed))
    return cells


def _on_topics(d: float, i: float, width: int, number: int, seed: int, extent: Extent) -> Cell:
    knobs = _knobs(ADDITIVE, d, i, width, number)
    is_control = width == RANK and d in CONTROLS and i == CONTROL_INFORMATIVENESS
    return cell(
        _additive(d, i, number),
        knobs,
        training=_training(width, extent),
        seed=seed,
        agreement=is_control,
    )


def _additive(determinism: float, informativeness: float, number: int) -> World:
    parameters = {
        "topics": TOPICS,
        "vocabulary": TOKENS,
        "x_informativeness": informativeness,
        "y_determinism": determinism,
        "seed": number,
    }
    return World(ADDITIVE, parameters, LENGTH)


def _knobs(
    family: str, determinism: float, informativeness: float, width: int, number: int
) -> dict[str, float | str]:
    return {
        "family": family,
        "y_determinism": determinism,
        "x_informativeness": informativeness,
        "width": float(width),
        "world": number,
    }


def _training(width: int, extent: Extent) -> Training:
    return Training("mlp", 64, 1, width, 2e-2, 1e-6, extent.steps)


REGIMES = LaboratoryStudy("regimes", regimes_plan, regimes_report)
