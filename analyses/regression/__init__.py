"""Coefficients of the map with standard errors, in memory and from disk; classifiers."""

from .calibration import Calibration
from .contrast_regressions import ContrastTable, ContrastTables, contrast_tables
from .linear_maps import LinearMap, linear_map
from .moments import Rows, stream_linear_map
from .probes import Probe, probe
from .stored_rows import stored_rows

__all__ = [
    "Calibration",
    "ContrastTable",
    "ContrastTables",
    "LinearMap",
    "Probe",
    "Rows",
    "contrast_tables",
    "linear_map",
    "probe",
    "stored_rows",
    "stream_linear_map",
]
