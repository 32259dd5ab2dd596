"""Rows, weights, clusters, folds; ridge maps across them, held-out errors, refits, bootstraps."""

from .bootstrap import ClusterBootstrap, cluster_bootstrap
from .decomposition import DecomposedStates, decompose_states
from .hierarchical import HierarchicalBootstrap, hierarchical_bootstrap

__all__ = [
    "ClusterBootstrap",
    "DecomposedStates",
    "HierarchicalBootstrap",
    "cluster_bootstrap",
    "decompose_states",
    "hierarchical_bootstrap",
]
