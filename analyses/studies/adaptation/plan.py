"""What the study of adaptation is to do: a world, a language model, trainings and looks at them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from concept_ppl.analyses.studies.laboratory.cells import Cell
from concept_ppl.distributed import environment
from concept_ppl.errors import InputError
from concept_ppl.predictors.adaptation import KINDS, AdaptationRecipe, TextKind

REVISION = 2
"""Of the study's numbers: raise it when one of them comes to mean something else."""

CEILING, UNTRAINED = "ceiling", "untrained"
"""What needs no training: Bayes's own log-predictive as states, and random weights."""


CODEBOOK = "codebook"
SMALL_CODEBOOK = {"names": 3, "noise": 0.2}
"""A codebook that a small Llama learns to read in minutes."""

UPPER_BLOCKS = 12
"""Of a pretrained model that learn unless something else is asked for."""


@dataclass(frozen=True, slots=True)
class WordLevel:
    """A Llama from its config, with a token for each word of the world."""

    width: int = 64
    blocks: int = 4


def recipe_for(
    language_model: str | None,
    *,
    full: bool = False,
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    blocks: int | None = None,
    lora: int = 0,
) -> AdaptationRecipe:
    """Return a recipe that suits what learns, but for what is given.

    A pretrained model has its upper blocks changed a little; one from random weights (None) learns
    with all of them, at a higher rate.
    """
    if language_model is None:
        return AdaptationRecipe(
            steps or (6000 if full else 600),
            batch or 64,
            learning_rate or (1e-3 if full else 2e-3),
            blocks=blocks,
            lora=lora,
        )
    return AdaptationRecipe(
        steps or (2000 if full else 400),
        batch or 24,
        learning_rate or 3e-4,
        blocks=blocks or UPPER_BLOCKS,
        lora=lora,
    )


def world_for(
    model: str | None, parameters: Mapping[str, Any], *, full: bool = False
) -> tuple[str, Mapping[str, Any]]:
    """Return the world that is asked for; where none is, the codebook, a small one if not full."""
    if model is not None:
        return model, parameters
    return CODEBOOK, parameters if full else {**SMALL_CODEBOOK, **parameters}


@dataclass(frozen=True)
class AdaptationStudy:
    """What the study is to do.

    Attributes
    ----------
    world, parameters
        A zoo model or a file, and what it is built with.
    language_model
        As :func:`concept_ppl.bridge.load_language_model` takes it; None: ``word_level``, from
        random weights.
    word_level
        Size of the Llama that is trained from scratch.
    recipe
        How training goes on.
    n_contexts
        Held-out contexts of the analyses.
    n_looks
        How often everything is asked, before and after among them.
    seeds
        How many trainings with each kind of text.
    seed
        Of the first of them, of held-out contexts, folds and random weights.
    level
        Of the intervals.
    device
        Where the language model runs.
    """

    world: str = CODEBOOK
    parameters: Mapping[str, Any] = field(default_factory=dict)
    language_model: str | None = None
    word_level: WordLevel = WordLevel()
    recipe: AdaptationRecipe = field(default_factory=lambda: recipe_for(None))
    n_contexts: int = 2000
    n_looks: int = 8
    seeds: int = 1
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse sizes that no report could be made of."""
        if self.seeds < 1:
            raise InputError(f"seeds is {self.seeds}; give at least 1.")
        if self.language_model is None and (
            self.word_level.width % 16 or self.word_level.width < 16 or self.word_level.blocks < 1
        ):
            raise InputError(
                "the Llama that is trained from scratch has a width that is a multiple of 16 and "
                f"at least 1 block, not {self.word_level.width} and {self.word_level.blocks}."
            )
        self.recipe.spread(self.n_looks)

    @property
    def looks(self) -> tuple[int, ...]:
        """The steps at which everything is asked."""
        return self.recipe.spread(self.n_looks)

    @property
    def trainings(self) -> list["Training"]:
        """Every training: the world's own texts, and the same with tokens exchanged."""
        return [
            Training(kind, seed)
            for seed in range(self.seed, self.seed + self.seeds)
            for kind in KINDS
        ]


@dataclass(frozen=True, slots=True)
class Training:
    """One training: on which texts, from which seed."""

    kind: TextKind
    seed: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.kind} texts, seed {self.seed}"


def cells_of(study: AdaptationStudy, training: Training, model: str, texts: str) -> list[Cell]:
    """Return a cell for each look at a training.

    Parameters
    ----------
    study, training
        What is done.
    model, texts
        Digests of the language model before training and of the held-out texts.
    """
    return [_cell(study, training.kind, training.seed, step, model, texts) for step in study.looks]


def standing_cells(study: AdaptationStudy, model: str, texts: str) -> list[Cell]:
    """Return the cells that need no training."""
    return [_cell(study, kind, study.seed, 0, model, texts) for kind in (CEILING, UNTRAINED)]


def under_way_name(cells: Sequence[Cell]) -> str:
    """Name the file from which a killed training goes on."""
    return f"{cells[-1].digest}.safetensors"


def _cell(study: AdaptationStudy, kind: str, seed: int, step: int, model: str, texts: str) -> Cell:
    settings = {
        "study": "adaptation",
        "revision": REVISION,
        "world": study.world,
        "parameters": dict(study.parameters),
        "texts": texts,
        "language_model": model,
        "recipe": asdict(study.recipe),
        "looks": list(study.looks),
        "n_contexts": study.n_contexts,
        "level": study.level,
        "device": study.device.split(":")[0],
        "folds": study.seed,
        "kind": kind,
        "seed": seed,
        "step": step,
    }
    return Cell(settings, environment(gpu=study.device != "cpu"))
