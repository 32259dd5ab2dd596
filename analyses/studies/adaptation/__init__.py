"""Does the claim come true as a language model's training on the world's own text goes on?"""

from .plan import AdaptationStudy, WordLevel, recipe_for, world_for
from .study import run_adaptation

__all__ = ["AdaptationStudy", "WordLevel", "recipe_for", "run_adaptation", "world_for"]
