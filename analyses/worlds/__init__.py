"""Enumerated worlds: what holds of the population, and where a misfit comes from."""

from .concept_recoveries import ConceptRecovery, concept_recovery
from .error_budgets import ErrorBudget, Gap, error_budget
from .exact_fit import PopulationFit, independent_contrasts, population_fit

__all__ = [
    "ConceptRecovery",
    "ErrorBudget",
    "Gap",
    "PopulationFit",
    "concept_recovery",
    "error_budget",
    "independent_contrasts",
    "population_fit",
]
