"""What the study of word pairs is to do, and what was named before any data."""

from dataclasses import dataclass

from concept_ppl.analyses.pairs.weights import Estimator

from .states import BAG

HEADLINE_SITE = "final_norm"
"""The state that the unembedding reads. Named before any data."""
HEADLINE: Estimator = "whitened"
"""One covariance for all concepts, shrunk in the training half. Named before any data."""
UNEMBEDDING = "unembedding"

MODEL = ""
TABLE = "input embedding"
BAG_OF_TOKENS = "sum of input embeddings"
RANDOM = "random weights"
COUNT = "token count"
CONTROLS = (TABLE, BAG_OF_TOKENS, RANDOM, COUNT)
SITES_OF = {
    MODEL: HEADLINE_SITE,
    TABLE: "embedding",
    BAG_OF_TOKENS: BAG,
    RANDOM: HEADLINE_SITE,
    COUNT: "",
}
"""Where the states of the model and of each control are read."""
LOGISTIC_SPLITS = 3
"""How many of the splits the logistic regression takes, the costliest of the estimators."""


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
