"""What stands beside a language model's states: what of the text no training was needed for.

The readers are those of a study of a world (`token_readers`), made of the world's own evidence, of
which tokens stand where, and of the input embeddings as they were before training; and a twin with
random weights. None of them changes as training goes on, so that they are fitted once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_ppl.analyses import fit_controls, token_rows
from concept_ppl.analyses.studies.stages.model_states import Where, is_rule, token_controls
from concept_ppl.analyses.studies.stages.token_evidence import evidence_readers
from concept_ppl.bridge import LanguageModel
from concept_ppl.predictors.adaptation import Texts, WorldWords

from .answers import BAYES, Beside, HeldOut

UNTRAINED_NETWORK = "untrained network"


def beside_looks(
    words: WorldWords,
    texts: Texts,
    held: HeldOut,
    language_model: LanguageModel,
    untrained: NDArray[np.float32],
) -> Beside:
    """Fit everything that stands beside a look.

    Parameters
    ----------
    words, texts, held
        The world, and its held-out texts with their exact answers.
    language_model
        Before training.
    untrained
        (n, width) states of the same architecture with random weights.
    """
    contexts = texts.contexts
    last = np.cumsum(contexts.lengths) - (2 if words.closing else 1)
    rows = token_rows(contexts.tokens, contexts.lengths, last)
    readers: dict[str, Any] = {
        **evidence_readers(words.model, contexts, rows, (words.concept,)),
        **token_controls(language_model, held.sentences, Where(), held.seed),
    }
    controls = {name: one for name, one in readers.items() if not is_rule(name)}
    rules = {name: one for name, one in readers.items() if is_rule(name)}
    options: dict[str, Any] = {"clusters": held.clusters, "seed": held.seed}
    return Beside(
        fit_controls(held.log_odds, {UNTRAINED_NETWORK: untrained, **controls}, **options),
        fit_controls(held.log_odds, {BAYES: held.log_ratios, **rules}, **options),
    )
