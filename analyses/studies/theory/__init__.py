"""Does the claim hold where the theory says so?"""

from .plan import THEORY

__all__ = ["THEORY"]
