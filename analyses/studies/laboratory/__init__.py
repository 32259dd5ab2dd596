"""Predictors trained in worlds whose posteriors are known: cells, runs, measures, reports."""

from .cells import Cell, Shard
from .runs import Extent, LaboratoryStudy, run_laboratory

__all__ = ["Cell", "Extent", "LaboratoryStudy", "Shard", "run_laboratory"]
