"""What the study of word pairs is to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CounterfactualStudy:
    """What the study is to do.

    Attributes
    ----------
    language_models : tuple of str
        One or two, as :func:`concept_ppl.bridge.load_language_model` takes them.
    pairs : str
        A folder or CSV of word pairs.
    n_blocks : int
        How many blocks of each model to read, evenly spaced.
    n_splits, n_flips : int
        Splits of the words into halves; random sign flips behind each p-value.
    seed : int
        Of splits, flips, noise and random weights.
    level : float
        Of the intervals.
    device : str
        Where the language models run.
    """

    language_models: tuple[str, ...]
    pairs: str
    n_blocks: int = 6
    n_splits: int = 10
    n_flips: int = 9_999
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"
