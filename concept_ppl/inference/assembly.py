"""The parts' answers, put together in the caller's order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.inference.exact.answers import Answer
from concept_ppl.programs.factors import Concept

from .batches import Part, Rows
from .results import Posterior


@dataclass(frozen=True, eq=False)
class AnsweredPart:
    """A part without its graph, whose tables are free again once it has been answered.

    Attributes
    ----------
    model : str
    concepts : tuple of Concept
    rows, inverse, distinct
        As in :class:`~concept_ppl.inference.batches.Part`.
    answer : Answer
        Of its distinct contexts.
    """

    model: str
    concepts: tuple[Concept, ...]
    rows: Rows
    inverse: Rows
    distinct: Contexts
    answer: Answer

    @classmethod
    def of(cls, part: Part, answer: Answer) -> "AnsweredPart":
        """Keep what the result needs of a part."""
        concepts = tuple(part.graph.reported.values())
        return cls(part.graph.name, concepts, part.rows, part.inverse, part.distinct, answer)


def assemble_posterior(parts: Sequence[AnsweredPart], n_contexts: int) -> Posterior:
    """Put the parts together and repeat the distinct contexts' answers in the caller's order."""
    answers = [part.answer for part in parts]
    contexts = Contexts.concatenate([part.distinct for part in parts])
    place = _places(parts, n_contexts)
    rows = torch.from_numpy(place)
    is_identity = np.array_equal(place, np.arange(len(place)))
    has_positions = bool(answers[0].filtered or answers[0].smoothed)
    tokens = torch.from_numpy(contexts.token_positions(place)) if has_positions else rows

    def arrange(pieces: list[Tensor], index: Tensor) -> Tensor:
        whole = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return whole if is_identity else whole[index.to(whole.device)]

    def arrange_each(field: str, index: Tensor) -> dict[str, Tensor]:
        tables: list[dict[str, Tensor]] = [getattr(answer, field) for answer in answers]
        return {name: arrange([table[name] for table in tables], index) for name in tables[0]}

    joints = [answer.log_joint for answer in answers if answer.log_joint is not None]
    running = [a.running_evidence for a in answers if a.running_evidence is not None]
    return Posterior(
        model=parts[-1].model,
        concepts=parts[-1].concepts,
        lengths=contexts.lengths[place],
        log_marginals=arrange_each("log_marginals", rows),
        log_evidence=arrange([answer.log_evidence for answer in answers], rows),
        entropy=arrange([answer.entropy for answer in answers], rows),
        log_joint=arrange(joints, rows) if joints else None,
        filtered=arrange_each("filtered", tokens),
        smoothed=arrange_each("smoothed", tokens),
        running_evidence=arrange(running, tokens) if running else None,
    )


def _places(parts: Sequence[AnsweredPart], n_contexts: int) -> Rows:
    """Return which of all parts' distinct contexts each row is, shape (n_contexts,)."""
    place = np.empty(n_contexts, np.int64)
    n_distinct = 0
    for part in parts:
        place[part.rows] = n_distinct + part.inverse
        n_distinct += len(part.distinct)
    return place
