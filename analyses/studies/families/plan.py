"""Does it matter what the predictor is? One world, every architecture, several networks of each.

The world is not additive, so that reading it takes more than a bag of tokens: a concept that moves,
and a next token that names its last state (y = c), where theory promises the log-posterior. Worlds
are not replicated here, only networks: intervals are over their seeds, and speak of this world.
"""

from itertools import product

from concept_ppl.analyses.studies.laboratory.cells import Cell
from concept_ppl.analyses.studies.laboratory.measures import Training, World, cell
from concept_ppl.analyses.studies.laboratory.runs import Extent, LaboratoryStudy
from concept_ppl.predictors import ARCHITECTURES

from .report import families_report

STATES, TOKENS, LENGTH = 3, 4, 4
NETWORKS, FULL_NETWORKS = 5, 10
WORLD_SEED = 1


def families_plan(extent: Extent) -> list[Cell]:
    """Return a cell for each architecture and network."""
    number = extent.world_numbers.start + WORLD_SEED
    parameters = {"states": STATES, "vocabulary": TOKENS, "y_determinism": 1.0, "seed": number}
    world = World("hidden_concepts", parameters, LENGTH)
    networks = extent.seeds or (FULL_NETWORKS if extent.full else NETWORKS)
    return [
        cell(
            world,
            {"world": number},
            training=_training(name, extent),
            seed=seed,
        )
        for name, seed in product(ARCHITECTURES, range(networks))
    ]


def _training(architecture: str, extent: Extent) -> Training:
    width, depth = {"mlp": (64, 1), "mamba": (32, 1)}.get(architecture, (32, 2))
    return Training(architecture, width, depth, STATES - 1, 2e-2, 1e-6, extent.steps)


FAMILIES = LaboratoryStudy("families", families_plan, families_report)
