"""What a study of a world and language models is to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAST, ALL = "last", "all"


@dataclass(frozen=True)
class WorldStudy:
    """What the study is to do.

    Attributes
    ----------
    world : str
        A world of the zoo or a user's file, as `concept_ppl.load_model` takes it, whose tokens have
        text.
    parameters : mapping
        Of the world.
    language_models : tuple of str
        As `concept_ppl.bridge.load_language_model` takes them.
    n_contexts : int
        Contexts to draw.
    read : str
        Where states are read: at the ``last`` token of each context, at ``all`` of the world's
        tokens (rows of one context are then one cluster), or at every token of this text.
    first : int
        First position, counted from 1, at which a state is read with ``all`` or a text.
    sites : str
        As `concept_ppl.bridge.resolve_sites` takes them; by default ``n_blocks`` evenly spaced.
    n_blocks : int
        How many blocks of each model to read where ``sites`` names none.
    controls : mapping of str to path
        Further controls: states of somebody else's, a row for each row that is read.
    n_planted : int
        Planted states of each form by which the world's power is measured.
    signal : float
        Their R².
    seed : int
        Of contexts, folds, planted states, shuffles and random weights.
    level : float
        Of the intervals.
    device : str
        Where the language models run.
    """

    world: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    language_models: tuple[str, ...] = ("smollm2",)
    n_contexts: int = 2000
    read: str = LAST
    first: int = 1
    sites: str = ""
    n_blocks: int = 6
    controls: Mapping[str, str | Path] = field(default_factory=dict)
    n_planted: int = 50
    signal: float = 0.4
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"
