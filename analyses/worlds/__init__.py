"""Worlds: what they can tell, whose posterior a predictor has, where a misfit comes from."""

from .belief_distances import Beliefs, ReliabilityBin, beliefs
from .concept_recoveries import ConceptRecovery, concept_recovery
from .error_budgets import ErrorBudget, Gap, error_budget
from .exact_fit import PopulationFit, independent_contrasts, population_fit
from .implied_posteriors import ImpliedPosterior, implied_posterior
from .token_readers import ReaderFamily, TokenRows, random_vectors, token_readers, token_rows
from .world_powers import PlantedRates, WorldPower, world_power

__all__ = [
    "Beliefs",
    "ConceptRecovery",
    "ErrorBudget",
    "Gap",
    "ImpliedPosterior",
    "PlantedRates",
    "PopulationFit",
    "ReaderFamily",
    "ReliabilityBin",
    "TokenRows",
    "WorldPower",
    "beliefs",
    "concept_recovery",
    "error_budget",
    "implied_posterior",
    "independent_contrasts",
    "population_fit",
    "random_vectors",
    "token_readers",
    "token_rows",
    "world_power",
]
