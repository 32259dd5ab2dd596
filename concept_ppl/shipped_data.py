"""Which data ship with the package: word pairs, labelled texts and word lists, by short names."""

from dataclasses import dataclass
from pathlib import Path

import concept_ppl

from .errors import InputError


@dataclass(frozen=True)
class ShippedData:
    """Data that an installed package brings along.

    Attributes
    ----------
    place : str
        Where it lies below the package.
    what : str
        What it is, and which command takes its name.
    """

    place: str
    what: str

    @property
    def path(self) -> Path:
        """The file or folder.

        Raises
        ------
        InputError
            If this installation lacks it.
        """
        places = (Path(folder) / self.place for folder in concept_ppl.__path__)
        found = next((place for place in places if place.exists()), None)
        if found is None:
            raise InputError(
                f"{self.place} is missing in this installation; install concept-ppl again."
            )
        return found


SHIPPED = {
    "own": ShippedData(
        "data/counterfactual_pairs",
        "Word pairs of 27 relations, made for this project; for counterfactual.",
    ),
    "topics_and_tones": ShippedData(
        "data/labelled_texts/topics_and_tones.csv",
        "Sentences labelled by topic and tone, from templates; for study labelled.",
    ),
    "opinion_words": ShippedData(
        "models/negated_opinions.csv",
        "Graded adjectives for a film; the words of the model negated_opinions.",
    ),
    "topic_words": ShippedData(
        "models/topics_and_registers.csv",
        "Words of topics and registers; those of the model topics_and_registers.",
    ),
}
"""Each name with what it stands for."""


def data_path(source: str | Path) -> Path:
    """Return the path that a command line names: one that is there, or that of shipped data."""
    path = Path(source)
    if path.exists() or str(source) not in SHIPPED:
        return path
    return SHIPPED[str(source)].path
