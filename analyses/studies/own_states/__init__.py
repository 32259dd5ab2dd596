"""The analyses of states and posteriors that are already there."""

from .study import analyse_stored

__all__ = ["analyse_stored"]
