"""Enumerated worlds: what holds of the population, and where a misfit comes from."""

from .concept_recoveries import ConceptRecovery, concept_recovery
from .error_budgets import ErrorBudget, Gap, error_budget
from .exact_fit import PopulationFit, independent_contrasts, population_fit
from .token_readers import ReaderFamily, TokenRows, random_vectors, token_readers, token_rows
from .world_powers import PlantedRates, WorldPower, world_power

__all__ = [
    "ConceptRecovery",
    "ErrorBudget",
    "Gap",
    "PlantedRates",
    "PopulationFit",
    "ReaderFamily",
    "TokenRows",
    "WorldPower",
    "concept_recovery",
    "error_budget",
    "independent_contrasts",
    "population_fit",
    "random_vectors",
    "token_readers",
    "token_rows",
    "world_power",
]
