"""A plain Pyro function as named log-tables: load it, trace it, refuse what has no exact answer."""

from .factors import Concept, Emission, Factor, FactorGraph, TokenTable
from .graph_assembly import Model
from .sources import load_program
from .tracing import compile_model

__all__ = [
    "Concept",
    "Emission",
    "Factor",
    "FactorGraph",
    "Model",
    "TokenTable",
    "compile_model",
    "load_program",
]
