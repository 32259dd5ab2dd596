"""The exact posterior of the concepts given contexts, by enumeration of a Pyro program."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.posterior_tables import log_odds
from concept_ppl.contexts.tokens import Contexts, as_contexts
from concept_ppl.errors import InputError, ModelError
from concept_ppl.programs.factors import Concept, FactorGraph
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_lengths

from .answers import Answer, Wanted, gather
from .dense import DensePrior, answer_dense, dense_prior
from .elimination import answer_by_elimination
from .evidence import require_tokens
from .plans import Plan, chain_of, make_plan
from .sequences import answer_sequences

Rows = NDArray[np.int64]


class ImpossibleContextError(InputError):
    """Contexts that the model cannot produce: p(x) = 0, so there is no posterior.

    Attributes
    ----------
    rows : int64 array
        Their row numbers, from 0.
    """

    def __init__(self, model: str, rows: Rows) -> None:
        shown = ", ".join(str(row) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
        count = "1 context has" if len(rows) == 1 else f"{len(rows):,} contexts have"
        super().__init__(f"{count} probability zero under model {model}: row {shown}.")
        self.rows = rows


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
    lengths: Rows
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

    def log_odds(self) -> pd.DataFrame:
        """Return each value's log-odds against its concept's first value, Σ(K_i − 1) columns."""
        return log_odds(self.to_frame())

    def joint_log_ratios(self) -> Tensor:
        """Return log p(c | x) − log p(c_0 | x), shape (n_contexts, C − 1), c_0 the first value."""
        if self.log_joint is None:
            raise InputError("the joint was not computed; ask for it with joint=True.")
        return self.log_joint[:, 1:] - self.log_joint[:, :1]


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
        If a context has probability zero and ``impossible`` is ``raise``.
    InputError
        If a token lies outside the vocabulary; the message names row and token.
    MemoryBudgetError
        If one context alone, or the joint of all of them, exceeds the budget; nothing has been
        allocated then.
    """
    batch = as_contexts(contexts)
    wanted = Wanted(joint, filtered, smoothed)
    known = {name: torch.as_tensor(index).long() for name, index in (given or {}).items()}
    wholes: list[Answer] = []
    answered: list[Contexts] = []
    place = np.empty(len(batch), np.int64)
    n_distinct = done = 0
    for graph, rows in graphs_for(model, batch, values, device, dtype):
        _require_concepts(graph)
        _require_known_concepts(graph, known, batch.lengths)
        part = batch.take(rows)
        distinct, inverse = part.unique() if not known else (part, np.arange(len(part)))
        own = {name: index[torch.from_numpy(rows)] for name, index in known.items()}
        plan = make_plan(
            graph,
            distinct,
            given=tuple(own),
            engine=engine,
            memory=memory,
            kept_positions=filtered or smoothed,
            joint_rows=len(batch) if joint else 0,
        )
        chunks = _answers(graph, plan, distinct, own, wanted)
        if progress is not None:
            chunks = _counted(chunks, progress, done, len(part) / max(len(distinct), 1), len(batch))
        wholes.append(gather(chunks, len(distinct), len(distinct.tokens)))
        _require_same_concepts(graph, wholes)
        done += len(part)
        place[rows] = n_distinct + inverse
        answered.append(distinct)
        n_distinct += len(distinct)
    result = _assemble(graph, wholes, Contexts.concatenate(answered), place)
    _require_possible(result, impossible)
    return result


def _counted(
    chunks: Iterator[Answer],
    progress: Callable[[int, int], None],
    before: int,
    repeats: float,
    total: int,
) -> Iterator[Answer]:
    """Pass answers on and tell how many contexts are done; each distinct one stands for some."""
    n_answered = 0
    for chunk in chunks:
        yield chunk
        n_answered += len(chunk.log_evidence)
        progress(before + round(n_answered * repeats), total)


def _require_concepts(graph: FactorGraph) -> None:
    if not graph.concepts:
        raise ModelError(
            f"model {graph.name} has no concept, so there is no posterior; a concept is a discrete "
            f"site other than x and y."
        )


def _require_same_concepts(graph: FactorGraph, wholes: list[Answer]) -> None:
    if list(wholes[-1].log_marginals) != list(wholes[0].log_marginals):
        raise ModelError(
            f"model {graph.name} has other concepts at other lengths; loop with pyro.markov, or "
            f"answer contexts of one length at a time."
        )


def graphs_for(
    model: Model | FactorGraph,
    contexts: Contexts,
    values: Mapping[str, Any] | None,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Iterator[tuple[FactorGraph, Rows]]:
    """Yield a graph and the rows it answers: one for all, or one per length where they differ."""
    if isinstance(model, FactorGraph):
        require_tokens(model, contexts)
        yield model, np.arange(len(contexts))
        return
    graphs = compile_lengths(model, contexts.lengths, values=values, device=device, dtype=dtype)
    for graph, rows in graphs:
        require_tokens(graph, contexts.take(rows), rows)
        yield graph, rows


def _answers(
    graph: FactorGraph,
    plan: Plan,
    contexts: Contexts,
    given: Mapping[str, Tensor],
    wanted: Wanted,
) -> Iterator[Answer]:
    by_position = wanted.filtered or wanted.smoothed
    if graph.moving and plan.engine != "sequence" and wanted.smoothed:
        raise InputError("engine 'elimination' does not smooth moving concepts; use engine='auto'.")
    answer = _engine(graph, plan)
    for start in range(0, max(len(contexts), 1), plan.chunk):
        part = contexts.slice(start, min(start + plan.chunk, len(contexts)))
        known = {name: index[start : start + plan.chunk] for name, index in given.items()}
        result = answer(part, known, wanted)
        if by_position and plan.engine != "sequence":
            _add_positions(result, part, known, wanted, answer)
        yield result


Engine = Callable[[Contexts, Mapping[str, Tensor], Wanted], Answer]


def _engine(graph: FactorGraph, plan: Plan) -> Engine:
    """Return the chosen engine as a function of contexts, evidence and what is wanted."""
    if plan.engine == "dense":
        prior = _dense_prior(graph, plan.scope)
        return lambda contexts, given, wanted: answer_dense(graph, prior, contexts, given, wanted)
    if plan.engine == "elimination":
        return lambda contexts, given, wanted: answer_by_elimination(graph, contexts, given, wanted)
    chain = chain_of(graph)
    return lambda contexts, given, wanted: answer_sequences(graph, chain, contexts, given, wanted)


def _dense_prior(graph: FactorGraph, scope: tuple[str, ...]) -> DensePrior:
    key = f"dense:{','.join(scope)}"
    if key not in graph._cache:
        graph._cache[key] = dense_prior(graph, scope)
    prior = graph._cache[key]
    assert isinstance(prior, DensePrior)
    return prior


def _add_positions(
    answer: Answer, contexts: Contexts, given: Mapping[str, Tensor], wanted: Wanted, engine: Engine
) -> None:
    """Prefix posteriors of static concepts; given all tokens they are the same at each position."""
    repeats = torch.from_numpy(np.repeat(np.arange(len(contexts)), contexts.lengths))
    if wanted.smoothed:
        answer.smoothed = {
            name: table[repeats.to(table.device)] for name, table in answer.log_marginals.items()
        }
    if wanted.filtered and not answer.filtered:
        prefixes = contexts.prefixes()
        own = np.flatnonzero(prefixes.lengths > 0)
        known = {name: index[repeats] for name, index in given.items()}
        at_each = engine(prefixes.take(own), known, Wanted())
        answer.filtered = at_each.log_marginals
        answer.running_evidence = at_each.log_evidence


def _require_known_concepts(graph: FactorGraph, given: Mapping[str, Tensor], lengths: Rows) -> None:
    n = len(lengths)
    for name, index in given.items():
        if name not in graph.sizes:
            names = ", ".join(graph.sizes)
            raise InputError(f"given: model {graph.name} has no concept '{name}'; it has: {names}.")
        if index.shape != (n,):
            shape = tuple(index.shape)
            raise InputError(f"given['{name}'] has shape {shape}, the contexts are {n}.")
        if bool((index >= graph.sizes[name]).any()):
            row = int((index >= graph.sizes[name]).nonzero()[0])
            raise InputError(f"given['{name}'], row {row}: value {int(index[row])} does not exist.")
        position = max(
            (steps.index(name) for steps in graph.moving.values() if name in steps), default=0
        )
        beyond = (index >= 0).numpy(force=True) & (position >= np.maximum(lengths, 1))
        if beyond.any():
            row = int(np.flatnonzero(beyond)[0])
            raise InputError(
                f"given['{name}'], row {row}: the context has {lengths[row]} tokens, so '{name}' "
                f"lies behind its end; give -1 there."
            )


def _assemble(
    graph: FactorGraph, answers: list[Answer], contexts: Contexts, place: Rows
) -> Posterior:
    """Put the chunks together and repeat the distinct contexts' answers in the caller's order."""
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
        model=graph.name,
        concepts=tuple(graph.reported.values()),
        lengths=contexts.lengths[place],
        log_marginals=arrange_each("log_marginals", rows),
        log_evidence=arrange([answer.log_evidence for answer in answers], rows),
        entropy=arrange([answer.entropy for answer in answers], rows),
        log_joint=arrange(joints, rows) if joints else None,
        filtered=arrange_each("filtered", tokens),
        smoothed=arrange_each("smoothed", tokens),
        running_evidence=arrange(running, tokens) if running else None,
    )


def _require_possible(result: Posterior, impossible: str) -> None:
    if impossible not in {"raise", "mark"}:
        raise InputError(f"impossible must be 'raise' or 'mark', not '{impossible}'.")
    rows = torch.isneginf(result.log_evidence).nonzero().squeeze(1).cpu().numpy()
    if len(rows) and impossible == "raise":
        raise ImpossibleContextError(result.model, rows)
