"""Any world whose tokens have text, against any language model."""

from .plan import WorldStudy
from .study import run_world_study

__all__ = ["WorldStudy", "run_world_study"]
