"""log p(tokens | parameters): the unknowns of a program, its concepts summed out."""

from .collapse import collapsed

__all__ = ["collapsed"]
