"""Questions about states F and contrasts Z, one a file: arrays in, frozen results out."""

from .bootstrap import ClusterBootstrap, cluster_bootstrap
from .calibration import Calibration
from .canonical import CanonicalCorrelations, canonical_correlations
from .concept_recoveries import ConceptRecovery, concept_recovery
from .contrast_regressions import ContrastTable, ContrastTables, contrast_tables
from .controls import ControlComparison, ControlFit, compare_controls, shuffled
from .counterfactual_matrices import CounterfactualMatrix, counterfactual_matrix
from .diversity import Diversity, diversity_condition
from .equivalence_claims import Equivalence, equivalence
from .error_budgets import ErrorBudget, Gap, error_budget
from .exact_fit import PopulationFit, independent_contrasts, population_fit
from .found_groups import ClusteringAgreement, clustering_agreement
from .goodness import GoodnessOfFit, decoded_contrasts, goodness_of_fit
from .hierarchical import HierarchicalBootstrap, hierarchical_bootstrap
from .hypotheses import HypothesisTest
from .invertible_maps import Invertibility, invertibility
from .joint_inverses import JointInverse, joint_inverse
from .latex import latex_table
from .layers import LayerCurve, LayerFit, layer_curve
from .linear_maps import LinearMap, linear_map
from .linearity_tests import Linearity, linearity
from .model_agreement import CrossModel, cross_model
from .model_differences import ModelDifference, model_difference
from .model_ranking import ModelRanking, rank_models
from .moments import Rows, stream_linear_map
from .multiplicity import benjamini_hochberg, holm
from .offset_spans import OffsetSpan, offset_span
from .pair_designs import PairDesign, make_pair_design
from .pair_differences import DiagonalDifference, diagonal_difference
from .parameter_tables import ParameterEstimates, parameter_estimates
from .posterior_forms import PosteriorForm, posterior_form
from .predictive_accuracy import (
    PredictiveAccuracy,
    held_out_accuracy,
    information_criterion,
    leave_one_out,
    waic,
)
from .predictive_checks import PredictiveCheck, predictive_check, token_checks
from .probes import Probe, probe
from .published_procedures import PublishedProcedure, published_procedure
from .results import RESULT_COLUMNS, Estimate, Row, result_frame
from .ridge import DecomposedStates, decompose_states
from .robust_rank import RankTests, rank_tests
from .stored_rows import stored_rows
from .wilks_bartlett import CanonicalTests, canonical_tests

__all__ = [
    "RESULT_COLUMNS",
    "Calibration",
    "CanonicalCorrelations",
    "CanonicalTests",
    "ClusterBootstrap",
    "ClusteringAgreement",
    "ConceptRecovery",
    "ContrastTable",
    "ContrastTables",
    "ControlComparison",
    "ControlFit",
    "CounterfactualMatrix",
    "CrossModel",
    "DecomposedStates",
    "DiagonalDifference",
    "Diversity",
    "Equivalence",
    "ErrorBudget",
    "Estimate",
    "Gap",
    "GoodnessOfFit",
    "HierarchicalBootstrap",
    "HypothesisTest",
    "Invertibility",
    "JointInverse",
    "LayerCurve",
    "LayerFit",
    "LinearMap",
    "Linearity",
    "ModelDifference",
    "ModelRanking",
    "OffsetSpan",
    "PairDesign",
    "ParameterEstimates",
    "PopulationFit",
    "PosteriorForm",
    "PredictiveAccuracy",
    "PredictiveCheck",
    "Probe",
    "PublishedProcedure",
    "RankTests",
    "Row",
    "Rows",
    "benjamini_hochberg",
    "canonical_correlations",
    "canonical_tests",
    "cluster_bootstrap",
    "clustering_agreement",
    "compare_controls",
    "concept_recovery",
    "contrast_tables",
    "counterfactual_matrix",
    "cross_model",
    "decoded_contrasts",
    "decompose_states",
    "diagonal_difference",
    "diversity_condition",
    "equivalence",
    "error_budget",
    "goodness_of_fit",
    "held_out_accuracy",
    "hierarchical_bootstrap",
    "holm",
    "independent_contrasts",
    "information_criterion",
    "invertibility",
    "joint_inverse",
    "latex_table",
    "layer_curve",
    "leave_one_out",
    "linear_map",
    "linearity",
    "make_pair_design",
    "model_difference",
    "offset_span",
    "parameter_estimates",
    "population_fit",
    "posterior_form",
    "predictive_check",
    "probe",
    "published_procedure",
    "rank_models",
    "rank_tests",
    "result_frame",
    "shuffled",
    "stored_rows",
    "stream_linear_map",
    "token_checks",
    "waic",
]
