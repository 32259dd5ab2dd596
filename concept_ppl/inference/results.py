"""What a posterior says of each context."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.posterior_tables import log_odds
from concept_ppl.errors import InputError
from concept_ppl.programs.factors import Concept


@dataclass(frozen=True)
class Posterior:
    """The posterior of every concept for each context.

    Attributes
    ----------
    model : str
    concepts : tuple of Concept
        What is reported: static concepts, and moving ones at the last position of each context.
    lengths : int64 array, shape (n_contexts,)
    log_marginals : mapping of str to Tensor, shape (n_contexts, K)
        log p(concept = value | x).
    log_evidence : Tensor, shape (n_contexts,)
        log p(x).
    entropy : Tensor, shape (n_contexts,)
        H(c | x) of the reported concepts jointly, in nats.
    log_joint : Tensor, shape (n_contexts, C), or None
        log p(c | x), the last concept fastest.
    filtered, smoothed : mapping of str to Tensor, shape (sum of lengths, K)
        log p(concept at t | x_{≤t}) and log p(concept at t | x) at every position, context after
        context; empty unless asked for.
    running_evidence : Tensor, shape (sum of lengths,), or None
        log p(x_{≤t}), with ``filtered``.
    """

    model: str
    concepts: tuple[Concept, ...]
    lengths: NDArray[np.int64]
    log_marginals: Mapping[str, Tensor]
    log_evidence: Tensor
    entropy: Tensor
    log_joint: Tensor | None
    filtered: Mapping[str, Tensor]
    smoothed: Mapping[str, Tensor]
    running_evidence: Tensor | None

    def __len__(self) -> int:
        return len(self.lengths)

    def to_frame(self) -> pd.DataFrame:
        """Return the table that ``concept-ppl posterior`` writes, a row for each context.

        Columns ``log_p.<concept>.<value>``, ``log_evidence``, ``entropy`` and, where the joint was
        asked for, ``log_joint`` (a list of C numbers).
        """
        columns: dict[str, Any] = {}
        for concept in self.concepts:
            table = self.log_marginals[concept.name].detach().cpu().numpy()
            for k, label in enumerate(concept.labels):
                columns[f"log_p.{concept.name}.{label}"] = table[:, k]
        columns["log_evidence"] = self.log_evidence.detach().cpu().numpy()
        columns["entropy"] = self.entropy.detach().cpu().numpy()
        if self.log_joint is not None:
            columns["log_joint"] = list(self.log_joint.detach().cpu().numpy())
        return pd.DataFrame(columns)

    def to_arrow(self) -> pa.Table:
        """Return the same table for Parquet, without a copy on the way."""
        return pa.Table.from_pandas(self.to_frame(), preserve_index=False)

    def log_odds(self) -> pd.DataFrame:
        """Return each value's log-odds against its concept's first value, Σ(K_i − 1) columns."""
        return log_odds(self.to_frame())

    def joint_log_ratios(self) -> Tensor:
        """Return log p(c | x) − log p(c_0 | x), shape (n_contexts, C − 1), c_0 the first value."""
        if self.log_joint is None:
            raise InputError("the joint was not computed; ask for it with joint=True.")
        return self.log_joint[:, 1:] - self.log_joint[:, :1]
