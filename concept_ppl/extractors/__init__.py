"""Features out of representations: baselines, concept component analysis, trained SAEs."""

from .baselines import (
    coordinates,
    independent_components,
    principal_components,
    random_dictionary,
)
from .conca import ConcaSettings
from .dictionary import Dictionary
from .dictionary_files import read_dictionary, save_dictionary
from .trained_elsewhere import read_trained
from .training import TrainingRecipe, fit_conca

__all__ = [
    "ConcaSettings",
    "Dictionary",
    "TrainingRecipe",
    "coordinates",
    "fit_conca",
    "independent_components",
    "principal_components",
    "random_dictionary",
    "read_dictionary",
    "read_trained",
    "save_dictionary",
]
