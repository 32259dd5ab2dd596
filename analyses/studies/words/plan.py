"""What the study of words is to do."""

from dataclasses import dataclass

FEWEST_DRAWS = 100


SHORT = 2
"""Longest of the contexts that calibration is measured on: there is little doubt about more."""


@dataclass(frozen=True)
class WordsStudy:
    """What the study is to do.

    Attributes
    ----------
    languages : tuple of str
        Codes of wordfreq.
    n_contexts, n_new : int
        Contexts to fit, and new ones to judge the fit by.
    top : int
        Words per language in the vocabulary.
    lengths : tuple of int
        Shortest and longest context.
    most_components : int or None
        Fit 2 components to this many; one more than languages by default.
    restarts : int
        Starts of EM.
    concentration : float
        Of the Dirichlet prior of word frequencies; below 1, most words are rare in a component.
    warmup, draws : int
        Of each of two chains.
    n_replicates : int
        Data sets that the tokens are checked against.
    seed : int
        Of contexts, starts, chains and replicates.
    level : float
        Of the intervals.
    """

    languages: tuple[str, ...] = ("en", "fr", "de", "es", "it")
    n_contexts: int = 600
    n_new: int = 5000
    top: int = 40
    lengths: tuple[int, int] = (4, 8)
    most_components: int | None = None
    restarts: int = 10
    concentration: float = 0.2
    warmup: int = 60
    draws: int = 120
    n_replicates: int = 60
    seed: int = 0
    level: float = 0.95

    @property
    def components(self) -> tuple[int, ...]:
        """Numbers of components to fit."""
        most = self.most_components or len(self.languages) + 1
        return tuple(range(2, most + 1))
