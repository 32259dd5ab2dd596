"""Predictors trained in worlds whose posteriors are known: cells, runs, measures, reports."""

from .cells import Cell, Shard
from .runs import Extent, LaboratoryStudy, cells_beside, run_laboratory

__all__ = ["Cell", "Extent", "LaboratoryStudy", "Shard", "cells_beside", "run_laboratory"]
