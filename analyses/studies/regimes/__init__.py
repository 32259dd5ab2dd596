"""Where does the claim stop to hold?"""

from .plan import REGIMES

__all__ = ["REGIMES"]
