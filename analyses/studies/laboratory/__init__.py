"""Predictors trained in worlds whose posteriors are known: cells, runs, measures, reports."""
