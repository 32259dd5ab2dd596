"""Questions about states F and contrasts Z, one a file: arrays in, frozen results out."""

from .bootstrap import ClusterBootstrap, cluster_bootstrap
from .calibration import Calibration
from .canonical import CanonicalCorrelations, canonical_correlations
from .canonical_tests import CanonicalTests, canonical_tests
from .contrast_tables import ContrastTable, ContrastTables, contrast_tables
from .controls import ControlComparison, ControlFit, compare_controls, shuffled
from .cross_model import CrossModel, cross_model
from .diversity import Diversity, diversity_condition
from .equivalence import Equivalence, equivalence
from .goodness import GoodnessOfFit, decoded_contrasts, goodness_of_fit
from .hierarchical import HierarchicalBootstrap, hierarchical_bootstrap
from .hypotheses import HypothesisTest
from .invertibility import Invertibility, invertibility
from .latex import latex_table
from .layers import LayerCurve, LayerFit, layer_curve
from .linear_map import LinearMap, linear_map
from .linearity import Linearity, linearity
from .moments import Rows, stream_linear_map
from .multiplicity import benjamini_hochberg, holm
from .posterior_form import PosteriorForm, posterior_form
from .probes import Probe, probe
from .rank_tests import RankTests, rank_tests
from .results import RESULT_COLUMNS, Estimate, Row, result_frame
from .ridge import DecomposedStates, decompose_states
from .stored_rows import stored_rows

__all__ = [
    "RESULT_COLUMNS",
    "Calibration",
    "CanonicalCorrelations",
    "CanonicalTests",
    "ClusterBootstrap",
    "ContrastTable",
    "ContrastTables",
    "ControlComparison",
    "ControlFit",
    "CrossModel",
    "DecomposedStates",
    "Diversity",
    "Equivalence",
    "Estimate",
    "GoodnessOfFit",
    "HierarchicalBootstrap",
    "HypothesisTest",
    "Invertibility",
    "LayerCurve",
    "LayerFit",
    "LinearMap",
    "Linearity",
    "PosteriorForm",
    "Probe",
    "RankTests",
    "Row",
    "Rows",
    "benjamini_hochberg",
    "canonical_correlations",
    "canonical_tests",
    "cluster_bootstrap",
    "compare_controls",
    "contrast_tables",
    "cross_model",
    "decoded_contrasts",
    "decompose_states",
    "diversity_condition",
    "equivalence",
    "goodness_of_fit",
    "hierarchical_bootstrap",
    "holm",
    "invertibility",
    "latex_table",
    "layer_curve",
    "linear_map",
    "linearity",
    "posterior_form",
    "probe",
    "rank_tests",
    "result_frame",
    "shuffled",
    "stored_rows",
    "stream_linear_map",
]
