"""From log-tables and contexts to exact answers: posteriors, predictions, samples."""

from .enumerated_contexts import EnumeratedContexts, enumerate_contexts
from .impossible_contexts import ImpossibleContextError
from .next_token_emissions import NextTokenEmission, next_token_emission
from .plans import Plan, make_plan
from .posteriors import posterior
from .queries import (
    Assignments,
    most_probable,
    mutual_information,
    pair_log_marginals,
    predictive,
    sample_posterior,
)
from .results import Posterior
from .simulation import simulate, simulate_blocks

__all__ = [
    "Assignments",
    "EnumeratedContexts",
    "ImpossibleContextError",
    "NextTokenEmission",
    "Plan",
    "Posterior",
    "enumerate_contexts",
    "make_plan",
    "most_probable",
    "mutual_information",
    "next_token_emission",
    "pair_log_marginals",
    "posterior",
    "predictive",
    "sample_posterior",
    "simulate",
    "simulate_blocks",
]
