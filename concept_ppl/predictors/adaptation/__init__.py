"""A language model's training is continued on a world's own texts, by next-token prediction."""

from .adapting import adapt
from .encoding import Encoding, encoding_of
from .progress_files import require_room
from .recipe import AdaptationRecipe
from .trainable import make_trainable
from .word_level import word_level_language_model
from .world_texts import KINDS, TextKind, Texts, exchanged, held_out_texts, training_texts
from .world_words import WorldWords, world_words

__all__ = [
    "KINDS",
    "AdaptationRecipe",
    "Encoding",
    "TextKind",
    "Texts",
    "WorldWords",
    "adapt",
    "encoding_of",
    "exchanged",
    "held_out_texts",
    "make_trainable",
    "require_room",
    "training_texts",
    "word_level_language_model",
    "world_words",
]
