"""Do architectures differ in what they learn?"""

from .plan import FAMILIES

__all__ = ["FAMILIES"]
