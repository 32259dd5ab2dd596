"""What the study of languages is to do: a world of words in several languages, and models."""

from dataclasses import dataclass

from concept_ppl.analyses.studies.world import WorldStudy
from concept_ppl.errors import InputError

WORLDS = {
    "ambiguous": "ambiguous_languages",
    "switching": "switching_languages",
    "fixed": "word_languages",
}


@dataclass(frozen=True)
class LanguageStudy:
    """What the study is to do.

    Attributes
    ----------
    world : str
        ``ambiguous``: words that the languages share, the language changing slowly. ``switching``:
        any words, changing fast. Both are read at a closing comma. ``fixed``: one language a
        context, read at the last word.
    language_models : tuple of str
        One or more, as :func:`concept_ppl.bridge.load_language_model` takes them.
    languages : tuple of str
        Codes of wordfreq.
    n_contexts : int
        Contexts.
    top : int or None
        Words per language in the vocabulary; as the world has it by default.
    n_blocks : int
        How many blocks of each model to read, evenly spaced.
    n_planted : int
        Planted states of each form by which the world's power is measured.
    seed : int
        Of contexts, folds, shuffles and random weights.
    level : float
        Of the intervals.
    device : str
        Where the language models run.
    """

    world: str = "ambiguous"
    language_models: tuple[str, ...] = ("smollm2",)
    languages: tuple[str, ...] = ("en", "fr", "de", "es", "it")
    n_contexts: int = 3000
    top: int | None = None
    n_blocks: int = 6
    n_planted: int = 50
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"

    def of_world(self) -> WorldStudy:
        """Return the study of a world that this is a preset of.

        Raises
        ------
        InputError
            If there is no such world.
        """
        if self.world not in WORLDS:
            raise InputError(f"world '{self.world}' is unknown; choose {' or '.join(WORLDS)}.")
        top = {} if self.top is None else {"top": self.top}
        return WorldStudy(
            WORLDS[self.world],
            parameters={"languages": self.languages, **top},
            language_models=self.language_models,
            n_contexts=self.n_contexts,
            n_blocks=self.n_blocks,
            n_planted=self.n_planted,
            seed=self.seed,
            level=self.level,
            device=self.device,
        )
