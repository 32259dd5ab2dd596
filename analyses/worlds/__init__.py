"""Enumerated worlds: what holds of the population, and where a misfit comes from."""

from .belief_distances import Beliefs, ReliabilityBin, beliefs
from .concept_recoveries import ConceptRecovery, concept_recovery
from .error_budgets import ErrorBudget, Gap, error_budget
from .exact_fit import PopulationFit, independent_contrasts, population_fit
from .implied_posteriors import ImpliedPosterior, implied_posterior

__all__ = [
    "Beliefs",
    "ConceptRecovery",
    "ErrorBudget",
    "Gap",
    "ImpliedPosterior",
    "PopulationFit",
    "ReliabilityBin",
    "beliefs",
    "concept_recovery",
    "error_budget",
    "implied_posterior",
    "independent_contrasts",
    "population_fit",
]
