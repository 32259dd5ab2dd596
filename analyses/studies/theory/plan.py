"""What does recovery of concepts depend on in the paper's own world, and what does accuracy hide?

Binary concepts on a random graph, their joint value permuted and written in bits, some of which are
read and some of which follow (Liu et al. 2025, https://arxiv.org/abs/2503.08980, section 6). One
knob is turned at a time: density of the graph, number of concepts, how many joint values share
their bits with another, and the noise with which bits are read. The paper reads bits without noise.
"""

from itertools import product

from concept_ppl.analyses.studies.laboratory.cells import Cell
from concept_ppl.analyses.studies.laboratory.exact_worlds import CONCEPTS
from concept_ppl.analyses.studies.laboratory.measures import Training, World, cell
from concept_ppl.analyses.studies.laboratory.runs import Extent, LaboratoryStudy

from .report import theory_report

READ = 8
"""Bits that are read: contexts of 8 tokens, 256 of them."""
BASE: dict[str, float] = {"density": 1.0, "concepts": 4, "collisions": 0.0, "noise": 0.1}
VARIED: dict[str, tuple[float, ...]] = {
    "density": (1.0, 2.0, 3.0),
    "concepts": (2, 3, 4, 5),
    "collisions": (0.0, 0.25, 0.5),
    "noise": (0.02, 0.1, 0.2),
}
FULL_VARIED: dict[str, tuple[float, ...]] = {
    "density": (0.0, 1.0, 2.0, 3.0),
    "concepts": (2, 3, 4, 5, 6),
    "collisions": (0.0, 0.125, 0.25, 0.5, 0.75),
    "noise": (0.01, 0.02, 0.05, 0.1, 0.2, 0.3),
}


def theory_plan(extent: Extent) -> list[Cell]:
    """Return a cell for each setting, world and network, and the paper's own world, exactly.

    In quick work only the base setting has all networks of a world, the others the first.
    """
    settings = [BASE]
    for knob, values in (FULL_VARIED if extent.full else VARIED).items():
        settings += [{**BASE, knob: value} for value in values if value != BASE[knob]]
    trained = [
        _cell(setting, number, seed, extent)
        for setting, number in product(settings, extent.world_numbers)
        for seed in extent.seed_numbers
        if seed == 0 or extent.full or setting == BASE
    ]
    clean = {**BASE, "noise": 0.0}
    return trained + [
        cell(_world(clean, number), {**clean, "world": number}) for number in extent.world_numbers
    ]


def _cell(setting: dict[str, float], number: int, seed: int, extent: Extent) -> Cell:
    width = 2 ** int(setting["concepts"]) - 1
    training = Training("mlp", 64, 1, width, 1e-2, 1e-6, extent.steps)
    knobs = {**setting, "world": number}
    return cell(_world(setting, number), knobs, training=training, seed=seed, recovery=True)


def _world(setting: dict[str, float], number: int) -> World:
    concepts = int(setting["concepts"])
    parameters = {
        "concepts": concepts,
        "bits": READ + concepts,
        "masked": concepts,
        "collisions": setting["collisions"],
        "noise": setting["noise"],
        "expected_degree": setting["density"],
        "seed": number,
    }
    return World("one_hot_permutation", parameters, READ, CONCEPTS)


THEORY = LaboratoryStudy("theory", theory_plan, theory_report)
