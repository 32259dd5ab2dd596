"""A program without its discrete sites: they are summed out, what is left is differentiable.

    p(θ) Π_n p(x_n | θ),     p(x | θ) = Σ_c p(c | θ) p(x | c, θ)

Sites and params of θ are sampled as the program has them; each context adds one factor. Any
inference algorithm of Pyro takes it from there.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.poutine.messenger import Messenger
from torch import Tensor

from concept_ppl.errors import InputError, ModelError
from concept_ppl.programs.control_flow import plain
from concept_ppl.programs.enumeration import POSITION, Enumeration
from concept_ppl.programs.graph_assembly import Model, assemble
from concept_ppl.programs.tables import is_enumerable, watching_row_sums
from concept_ppl.programs.tracing import double_precision

from .likelihood import Batch, Likelihood, make_likelihood
from .parameters import Parameter, Parameters
from .program import Piece

CONTEXTS = "contexts"
"""The plate over contexts; each adds the factor ``log_evidence``."""


def collapsed(
    model: Model,
    tokens: Batch,
    *,
    weights: Sequence[float] | NDArray[np.float64] | None = None,
    given: Mapping[str, Any] | None = None,
    next_tokens: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    memory: float = 2e9,
) -> Callable[[], dict[str, Tensor]]:
    """Return a Pyro program of the parameters alone, its concepts summed out exactly.

    The program takes no arguments. Its sites are the continuous sites and ``pyro.param``
    statements of the model, in the plates that they have there, and one factor ``log_evidence``
    in the plate ``contexts``; it returns the parameters. SVI with any guide, HMC, NUTS and the
    others of Pyro run on it as on a program that never had a discrete site. Where its rows of
    probabilities are used as they are, the model itself does not run again.

    Parameters
    ----------
    model, tokens
        As in :func:`concept_ppl.posterior`; tokens of −1 (``None``, null) are unobserved.
    weights
        How often each context counts, shape (n_contexts,); default: the table's column ``weight``.
    given
        Known values of concepts: name to value indices, shape (n_contexts,), −1 where unknown.
    next_tokens
        Observed next tokens: site to token, shape (n_contexts,), −1 where unknown; default: the
        table's columns of that name.
    values
        Parameters that are known and stay as they are.
    batch_size
        Draw so many contexts anew at each run, without replacement, and scale their factors up.
    memory
        Budget in bytes for the tables of a chunk of contexts.

    Raises
    ------
    InputError, ModelError
        If the tokens or the program cannot be used; the message names row or site.
    """
    likelihood = make_likelihood(
        model,
        tokens,
        weights=weights,
        given=given,
        next_tokens=next_tokens,
        values=values,
        memory=memory,
    )
    return collapsed_program(likelihood, batch_size=batch_size)


def collapsed_program(
    likelihood: Likelihood, *, batch_size: int | None = None
) -> Callable[[], dict[str, Tensor]]:
    """Return the Pyro program of a likelihood; see :func:`collapsed`."""
    n = likelihood.n_contexts
    if batch_size is not None and not 1 <= batch_size <= n:
        raise InputError(f"batch_size must lie between 1 and the {n} contexts, not {batch_size}.")
    own = likelihood.own_weights
    weights = None if own is None else torch.from_numpy(own)

    def program() -> dict[str, Tensor]:
        sampled = _sample_parameters(likelihood)
        with pyro.plate(CONTEXTS, n, subsample_size=batch_size) as index:
            if batch_size is None:
                each = _each(likelihood, sampled, None)
                factor = each if weights is None else each * weights
            else:
                each = _each(likelihood, sampled, index.numpy())
                factor = each if weights is None else each * weights[index]
            pyro.factor("log_evidence", factor)
        return sampled.values

    return program


Tables = list[list[Tensor]]


@dataclass(frozen=True)
class _Sampled:
    """Parameters, and the tables that follow: one set, or one for each of several copies.

    ``shape`` is that of the copies, in the dimensions of plates; () where there is one.
    """

    values: dict[str, Tensor]
    tables: list[Tables]
    shape: tuple[int, ...] = ()


def _each(likelihood: Likelihood, sampled: _Sampled, rows: NDArray[np.int64] | None) -> Tensor:
    """Return log p(x), shape (n,), or with the copies' dimensions before it."""
    found = [likelihood.by_context(tables, rows) for tables in sampled.tables]
    if not sampled.shape:
        return found[0]
    return torch.stack(found).reshape(*sampled.shape[:-1], -1)


def _sample_parameters(likelihood: Likelihood) -> _Sampled:
    """Sample the parameters where the tables are looked up."""
    program = likelihood.program
    if not program.is_looked_up:
        values, tables = _run_again(likelihood)
        return _Sampled(values, [tables])
    values = {name: _statement(parameter) for name, parameter in program.parameters.items()}
    shapes = [_copies(p, values[name]) for name, p in program.parameters.items()]
    shape = np.broadcast_shapes(*shapes)
    copies = int(np.prod(shape))
    if copies == 1:
        flat = {name: values[name].reshape(p.shape) for name, p in program.parameters.items()}
        return _Sampled(values, [program.evaluate(flat)[0]])
    each = {}
    for name, parameter in program.parameters.items():
        n_own = values[name].dim() - len(parameter.shape)
        if n_own and int(np.prod(shape[:n_own])) != copies:
            raise ModelError(
                f"parameter '{name}' came in copies whose dimensions are those of its own plates; "
                f"give a larger max_plate_nesting."
            )
        wide = values[name].expand(*(shape[:n_own] if n_own else (copies,)), *parameter.shape)
        each[name] = wide.reshape(copies, *parameter.shape)
    found = [program.evaluate({n: v[k] for n, v in each.items()})[0] for k in range(copies)]
    return _Sampled(values, found, tuple(shape))


def _copies(parameter: Parameter, value: Tensor) -> tuple[int, ...]:
    """Return the shape of a value's copies, with 1 for each of its own plates' dimensions."""
    if parameter.prior is None:
        return ()
    own = len(parameter.shape)
    extra = tuple(value.shape[: value.dim() - own])
    return extra + (1,) * (own - parameter.prior.event_dim) if extra else ()


def _statement(parameter: Parameter) -> Tensor:
    """Make the sample or param statement of a parameter, in its plates."""
    if parameter.prior is None:
        return pyro.param(  # type: ignore[no-any-return]
            parameter.name, parameter.initial.clone, constraint=parameter.constraint
        )
    with ExitStack() as plates:
        for frame in parameter.plates:
            plates.enter_context(pyro.plate(frame.name, frame.size, dim=frame.dim))
        return pyro.sample(parameter.name, parameter.prior)  # type: ignore[no-any-return]


class _Hidden(Enumeration):
    """Enumerate discrete sites out of sight of the handlers outside; leave the others to them."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        discrete = is_enumerable(msg["fn"]) if not msg["is_observed"] else True
        is_plate = type(msg["fn"]).__name__ == "_Subsample"
        if msg["name"] == POSITION:
            msg["stop"] = True
        elif discrete and not is_plate:
            super()._pyro_sample(msg)
            msg["stop"] = True


def _run_again(likelihood: Likelihood) -> tuple[dict[str, Tensor], Tables]:
    """Run the model itself, once for each length that it is another program at."""
    program = likelihood.program
    first, *others = program.pieces
    recorder = _Recorder()
    tables: Tables = [_traced(likelihood, first, recorder)]
    for name, value in recorder.values.items():
        if tuple(value.shape) != program.parameters[name].shape:
            raise ModelError(
                f"parameter '{name}' came in several copies at once, but model {program.name} "
                f"computes tables from it and runs with one; use vectorize_particles=False."
            )
    values = {name: plain(value) for name, value in recorder.values.items()}
    for piece in others:  # the statements were made at the first length
        with pyro.poutine.block():
            tables.append(_traced(likelihood, piece, Parameters(values)))
    return values, tables


def _traced(likelihood: Likelihood, piece: Piece, parameters: Messenger) -> list[Tensor]:
    """Return the tables of one piece; Pyro's store must stay as it is, so nothing is scoped."""
    program, n_tokens = likelihood.program, piece.template.n_tokens
    with double_precision(), watching_row_sums() as row_sums:
        enumeration = _Hidden(piece.n_plates, row_sums)
        with enumeration, parameters, program.given:
            program.model(n_tokens)
        return piece.tables(assemble(program.model, program.name, n_tokens, enumeration))


class _Recorder(Messenger):  # type: ignore[misc]
    """Keep the values of continuous sites and params."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Tensor] = {}
        self._fixed: set[str] = set()

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["done"]:
            self._fixed.add(msg["name"])

    _pyro_param = _pyro_sample

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        is_own = not msg["is_observed"] and msg["name"] not in self._fixed
        if is_own and not is_enumerable(msg["fn"]) and type(msg["fn"]).__name__ != "_Subsample":
            self.values[msg["name"]] = msg["value"]

    def _pyro_post_param(self, msg: dict[str, Any]) -> None:
        if msg["name"] not in self._fixed:
            self.values[msg["name"]] = msg["value"]
