"""How parameters are found: ascents from several starts, and posteriors by chains or guides."""

from .ascents import Progress

__all__ = ["Progress"]
