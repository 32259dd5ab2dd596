"""The states of many contexts at named sites, in memory or site by site on the disk."""

from .folders import load_states
from .states import States

__all__ = ["States", "load_states"]
