"""What the study of labels of one's own is to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LabelledStudy:
    """What the study is to do.

    Attributes
    ----------
    language_model : str
        As :func:`concept_ppl.bridge.load_language_model` takes it.
    labels : tuple of str
        Columns of labels; all but the text and the cluster by default.
    cluster : str or None
        A column that says which texts belong together.
    n_blocks : int
        How many blocks of the model to read, evenly spaced.
    seed : int
        Of the halves, folds, shuffles and random weights.
    level : float
        Of the intervals.
    device : str
        Where the language model runs.
    """

    language_model: str = "smollm2"
    labels: tuple[str, ...] = ()
    cluster: str | None = None
    n_blocks: int = 6
    seed: int = 0
    level: float = 0.95
    device: str = "cpu"
