"""How good a fitted generative model is: predictive accuracy, parameters, convergence, checks."""

from .found_groups import ClusteringAgreement, clustering_agreement
from .model_ranking import ModelRanking, rank_models
from .parameter_tables import ParameterEstimates, parameter_estimates
from .predictive_accuracy import (
    PredictiveAccuracy,
    held_out_accuracy,
    information_criterion,
    leave_one_out,
    waic,
)
from .predictive_checks import PredictiveCheck, predictive_check, token_checks

__all__ = [
    "ClusteringAgreement",
    "ModelRanking",
    "ParameterEstimates",
    "PredictiveAccuracy",
    "PredictiveCheck",
    "clustering_agreement",
    "held_out_accuracy",
    "information_criterion",
    "leave_one_out",
    "parameter_estimates",
    "predictive_check",
    "rank_models",
    "token_checks",
    "waic",
]
