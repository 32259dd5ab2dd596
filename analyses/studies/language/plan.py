"""What the study of languages is to do."""

from dataclasses import dataclass

WORLDS = {"fixed": "word_languages", "switching": "switching_languages"}


@dataclass(frozen=True)
class LanguageStudy:
    """What the study is to do.

    Attributes
    ----------
    world : str
        ``fixed``: one language a context. ``switching``: it may change at every word, and the state
        is read at a closing comma.
    language_models : tuple of str
        One or two, as :func:`concept_ppl.bridge.load_language_model` takes them.
    languages : tuple of str
        Codes of wordfreq.
    n_contexts, top : int
        Contexts, and words per language in the vocabulary.
    n_blocks : int
        How many blocks of each model to read, evenly spaced.
    seed : int
        Of contexts, folds, shuffles and random weights.
    level : float
        Of the intervals.
    device : str
        Where the language models run.
    """

    world: str = "switching"
    language_models: tuple[str, ...] = ("smollm2",)
    languages: tuple[str, ...] = ("en", "fr", "de", "es", "it")
    n_contexts: int = 3000
    top: int = 3000
    n_blocks: int = 6
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"
