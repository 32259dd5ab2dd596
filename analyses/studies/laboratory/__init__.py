"""Predictors trained in worlds whose posteriors are known: cells, runs, measures, reports."""

from .cells import Cell
from .runs import Extent, LaboratoryStudy, cells_beside, run_laboratory

__all__ = ["Cell", "Extent", "LaboratoryStudy", "cells_beside", "run_laboratory"]
