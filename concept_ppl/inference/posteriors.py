"""The exact posterior of the concepts given contexts, by enumeration of a Pyro program.

A batch falls into parts (`batches`); each has a plan (`plans`), by which an engine answers it in
chunks (`engines`); these are gathered (`answers`) and assembled (`assembly`) to the result
(`results`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts, as_contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.exact.answers import Answer, Wanted, gather
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.graph_assembly import Model

from .assembly import AnsweredPart, assemble_posterior
from .batches import Part, parts_of
from .engines import answer_chunks
from .impossible_contexts import MOST_NAMED, Impossibility, ImpossibleContextError, first_reasons
from .plans import make_plan
from .results import Posterior


def posterior(
    model: Model | FactorGraph,
    contexts: Contexts | pd.DataFrame | Tensor | Iterable[Sequence[int]],
    *,
    given: Mapping[str, Tensor | Sequence[int]] | None = None,
    joint: bool = False,
    filtered: bool = False,
    smoothed: bool = False,
    values: Mapping[str, Any] | None = None,
    engine: str = "auto",
    memory: float = 2e9,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    impossible: str = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> Posterior:
    """Compute log p(concepts | context) exactly, for each context.

    Parameters
    ----------
    model
        A Pyro program (see :func:`~concept_ppl.compile_model`) or its compiled graph.
    contexts
        Token indices: lists of differing lengths, a rectangular integer tensor, a table with a
        column ``x``, or :class:`~concept_ppl.contexts.Contexts`. −1 is an unobserved token. For an
        empty context the posterior is the prior.
    given
        Partial evidence: concept name to value indices, shape (n_contexts,), −1 where unknown.
    joint
        Also return the log-posterior over all joint values of the concepts.
    filtered, smoothed
        Also return the log-posteriors of every concept at every position: given the tokens up to
        there (of static concepts too: prefix posteriors), or given all of them.
    values
        Values of continuous sites and parameters, where ``model`` is a program.
    engine
        ``auto`` chooses by estimated cost; ``dense``, ``elimination``, ``sequence`` force one.
    memory
        Budget in bytes for the tables of a chunk of contexts and for ``log_joint``, where it is
        asked for; the chunks are as large as the budget allows.
    device, dtype
        Where and in which precision to compute, where ``model`` is a program.
    impossible
        What to do with contexts of probability zero: ``raise``, or ``mark`` them by log-marginals
        and log-evidence of −inf and entropy 0.
    progress
        Called with (contexts done, contexts in all).

    Raises
    ------
    ModelError
        If the program cannot be answered exactly.
    ImpossibleContextError
        If a context has probability zero and ``impossible`` is ``raise``; the message names the
        first of them by row, position and token.
    InputError
        If a token lies outside the vocabulary; the message names row and token.
    MemoryBudgetError
        If one context alone, or the joint of all of them, exceeds the budget; nothing has been
        allocated then.
    """
    if impossible not in {"raise", "mark"}:
        raise InputError(f"impossible must be 'raise' or 'mark', not '{impossible}'.")
    batch = as_contexts(contexts)
    wanted = Wanted(joint, filtered, smoothed)
    known = {name: torch.as_tensor(index).long() for name, index in (given or {}).items()}
    answered: list[AnsweredPart] = []
    reasons: list[Impossibility] = []
    n_done = 0
    for part in parts_of(model, batch, known, values, device, dtype):
        plan = make_plan(
            part.graph,
            part.distinct,
            given=tuple(known),
            engine=engine,
            memory=memory,
            kept_positions=filtered or smoothed,
            joint_rows=len(batch) if joint else 0,
        )
        chunks = answer_chunks(part, plan, wanted)
        if progress is not None:
            chunks = _counted(chunks, part, n_done, len(batch), progress)
        answer = gather(chunks, len(part.distinct), len(part.distinct.tokens))
        answered.append(AnsweredPart.of(part, answer))
        n_done += len(part.rows)
        if impossible == "raise":
            nowhere = torch.isneginf(answer.log_evidence).numpy(force=True)
            found = first_reasons(part, nowhere, MOST_NAMED - len(reasons))
            reasons += [replace(one, row=one.row + batch.first_row) for one in found]
    result = assemble_posterior(answered, len(batch))
    if reasons:
        rows = torch.isneginf(result.log_evidence).nonzero().squeeze(1).numpy(force=True)
        rows += batch.first_row
        raise ImpossibleContextError(result.model, rows, tuple(reasons), can_be_marked=True)
    return result


def _counted(
    chunks: Iterator[Answer],
    part: Part,
    before: int,
    total: int,
    progress: Callable[[int, int], None],
) -> Iterator[Answer]:
    """Pass answers on and tell how many contexts are done; each distinct one stands for some."""
    repeats = len(part.rows) / max(len(part.distinct), 1)
    n_answered = 0
    for chunk in chunks:
        yield chunk
        n_answered += len(chunk.log_evidence)
        progress(before + round(n_answered * repeats), total)
