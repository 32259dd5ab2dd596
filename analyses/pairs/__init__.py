"""Counterfactual word pairs: do pairs that differ in one concept differ alike in a model?"""

from .counterfactual_matrices import CounterfactualMatrix, counterfactual_matrix
from .designs import PairDesign, make_pair_design
from .differences import DiagonalDifference, diagonal_difference
from .joint_inverses import JointInverse, joint_inverse
from .offset_spans import OffsetSpan, offset_span
from .published_procedures import PublishedProcedure, published_procedure

__all__ = [
    "CounterfactualMatrix",
    "DiagonalDifference",
    "JointInverse",
    "OffsetSpan",
    "PairDesign",
    "PublishedProcedure",
    "counterfactual_matrix",
    "diagonal_difference",
    "joint_inverse",
    "make_pair_design",
    "offset_span",
    "published_procedure",
]
