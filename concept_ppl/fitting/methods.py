"""Parameters of a generative model from tokens: EM, posterior mode, variational, NUTS."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.errors import InputError, listed
from concept_ppl.fitting.algorithms.ascents import Ascent, Pace, Reached, Report, ascend
from concept_ppl.fitting.algorithms.chains import sample_chains
from concept_ppl.fitting.algorithms.checkpoints import SECONDS_BETWEEN, Checkpoint, identity_of
from concept_ppl.fitting.algorithms.expectation_maximisation import (
    ExpectationMaximisation,
    plan_m_step,
    require_mode,
)
from concept_ppl.fitting.algorithms.observed_information import observed_information
from concept_ppl.fitting.algorithms.posterior_mode import FullBatch, Minibatches
from concept_ppl.fitting.algorithms.starts import Make, Starts
from concept_ppl.fitting.algorithms.variational import variational
from concept_ppl.fitting.fits.findings import (
    doubts_about_ascent,
    doubts_about_point,
    flat_concepts,
)
from concept_ppl.fitting.fits.fits import Fit
from concept_ppl.fitting.likelihoods.likelihood import (
    Batch,
    Likelihood,
    likelihood_of_file,
    make_likelihood,
)
from concept_ppl.fitting.likelihoods.program import Program
from concept_ppl.programs.graph_assembly import Model

from .assembly import Found, assembled
from .options import require_options, require_whole_passes

METHODS = ("em", "map", "svi", "nuts")
ITERATIONS = {"em": 2000, "map": 200, "svi": 3000, "nuts": 0}
SHORT_RUN = {"em": 12, "map": 3}
"""Iterations from each candidate for a start."""
RENEWALS = 5
"""Further starts, at most, where the best of the restarts ended where a concept tells nothing."""
LEARNING_RATES = {"map": 0.05, "svi": 0.02}


def fit(
    model: Model,
    tokens: Batch | str | Path,
    method: str = "em",
    *,
    weights: Sequence[float] | NDArray[np.float64] | None = None,
    given: Mapping[str, Any] | None = None,
    next_tokens: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    start: Mapping[str, Any] | None = None,
    restarts: int = 5,
    iterations: int | None = None,
    tolerance: float = 1e-9,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    guide: str = "AutoNormal",
    chains: int = 4,
    warmup: int = 500,
    draws: int = 1000,
    target_acceptance: float = 0.8,
    max_tree_depth: int = 10,
    seed: int = 0,
    standard_errors: bool = True,
    log_likelihood: bool = True,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = SECONDS_BETWEEN,
    progress: Report | None = None,
    memory: float = 2e9,
    device: torch.device | str = "cpu",
) -> Fit:
    """Learn the continuous sites and ``pyro.param`` statements of a program from tokens.

    Parameters
    ----------
    model
        A Pyro program for one context (see :func:`~concept_ppl.compile_model`) with
        ``pyro.param`` statements or continuous sites, whose distributions are their priors.
    tokens
        Lists of token indices, a rectangular tensor, a table with a column ``x``, or
        :class:`~concept_ppl.contexts.Contexts`; −1 (``None``, null) is unobserved. A path names a
        Parquet file with a column ``x`` that memory need not hold: ``em`` and ``map`` read it again
        at each pass, and keep 40 bytes a context.
    method
        ``em``: expectation maximisation, to the likelihood's or, with priors, the posterior's mode.
        ``map``: the same mode by L-BFGS, or with ``batch_size`` by Adam. ``svi``: variational
        inference. ``nuts``: draws from the posterior.
    weights
        How often each context counts, shape (n_contexts,); default: the table's column ``weight``.
    given
        Known values of concepts: name to value indices, shape (n_contexts,), −1 where unknown.
    next_tokens
        Observed next tokens: site to token, shape (n_contexts,), −1 where unknown; default: the
        table's columns of that name.
    values
        Parameters that are known and stay as they are.
    start
        Values to start from, by name: of the first restart, of every chain. Without it, restarts
        are random and chains start at draws from the prior.
    restarts
        Starts of ``em`` and ``map``; the best one is kept. All but ``start`` are random, each the
        one of several that a few iterations bring highest. Where the best one ends on a plateau
        (no better than without one of its concepts, noise aside), up to 5 more follow,
        unless ``start`` alone was asked for.
    iterations
        At most: of ``em``; of ``map`` blocks of L-BFGS or, with ``batch_size``, passes over the
        contexts; of ``svi`` steps.
    tolerance
        ``em`` and ``map`` end when an iteration gains less, in nats a token.
    batch_size
        Contexts of a minibatch, for ``map`` and ``svi``.
    learning_rate
        The first step size of Adam, for ``map`` with ``batch_size`` and ``svi``.
    guide
        For ``svi``: the name of one of Pyro's automatic guides.
    chains, warmup, draws, target_acceptance, max_tree_depth
        Of ``nuts``; ``draws`` of ``svi`` too.
    seed
        Same seed, same fit.
    standard_errors
        Whether ``em`` and ``map`` compute them from the observed information.
    log_likelihood
        Whether log p(x) of each context under each draw is kept.
    checkpoint, checkpoint_seconds
        A file for the state of the fit, written at most so often and replaced whole; where it
        exists, the same fit goes on from it and ends in the same numbers.
    progress
        Called with :class:`~concept_ppl.fitting.Progress` at each iteration.
    memory
        Budget in bytes for the tables of a chunk of contexts.
    device
        Where contexts lie and log p(x) is computed, by all methods; parameters, optimisers and
        samplers stay on the CPU.

    Raises
    ------
    InputError, ModelError
        If tokens, options or the program cannot be used; the message names row, argument or site.
    """
    if method not in METHODS:
        raise InputError(f"method '{method}' is unknown; choose one of {', '.join(METHODS)}.")
    options = {
        "method": method,
        "restarts": restarts,
        "iterations": ITERATIONS[method] if iterations is None else iterations,
        "tolerance": tolerance,
        "batch_size": batch_size,
        "learning_rate": learning_rate or LEARNING_RATES.get(method),
        "guide": guide,
        "chains": chains,
        "warmup": warmup,
        "draws": draws,
        "target_acceptance": target_acceptance,
        "max_tree_depth": max_tree_depth,
        "seed": seed,
    }
    require_options(options)
    if isinstance(tokens, str | Path):
        own = {"weights": weights, "given": given, "next_tokens": next_tokens}
        require_whole_passes(method, batch_size, standard_errors, own)
        likelihood = likelihood_of_file(
            model, Path(tokens), values=values, memory=memory, device=device
        )
        digested = [np.array([likelihood.n_contexts, likelihood.n_tokens]), np.zeros(0)]
    else:
        contexts = as_contexts(tokens)
        likelihood = make_likelihood(
            model,
            tokens,
            weights=weights,
            given=given,
            next_tokens=next_tokens,
            values=values,
            memory=memory,
            device=device,
        )
        digested = [contexts.tokens, contexts.lengths]
    first = _start(likelihood.program, start)
    identity = identity_of(
        options,
        *digested,
        likelihood.weights,
        {name: np.asarray(index) for name, index in (given or {}).items()},
        {name: p.shape for name, p in likelihood.program.parameters.items()},
        {name: value.numpy() for name, value in (first or {}).items()},
        getattr(model, "source", likelihood.program.name),
        getattr(model, "parameters", {}),
    )
    file = Checkpoint(Path(checkpoint) if checkpoint else None, identity, checkpoint_seconds)
    run = _RUNS[method]
    found = run(likelihood, options, first, file, progress, standard_errors)
    return assembled(model, likelihood, options, found, tuple(given or ()), log_likelihood)


def _start(program: Program, start: Mapping[str, Any] | None) -> dict[str, Tensor] | None:
    """Return the start, whole: what it leaves out is random."""
    if start is None:
        return None
    unknown = [name for name in start if name not in program.parameters]
    if unknown:
        known = listed(program.parameters)
        raise InputError(f"start: there is no parameter '{unknown[0]}'; there are: {known}.")
    values = program.random_values(torch.Generator().manual_seed(0))
    for name, value in start.items():
        tensor = torch.as_tensor(value).double()
        parameter = program.parameters[name]
        if tuple(tensor.shape) != parameter.shape:
            raise InputError(
                f"start: parameter '{name}' has shape {parameter.shape}, not {tuple(tensor.shape)}."
            )
        if not bool(parameter.constraint.check(tensor).all()):
            raise InputError(
                f"start: the value of '{name}' is outside of its range ({parameter.constraint})."
            )
        values[name] = tensor
    return values


def _run_ascent(
    likelihood: Likelihood,
    options: Mapping[str, Any],
    first: dict[str, Tensor] | None,
    file: Checkpoint,
    progress: Report | None,
    standard_errors: bool,
) -> Found:
    """Run EM or the search for the mode from several starts."""
    method = options["method"]
    require_mode(likelihood.program)
    make, monotone = _ascent(likelihood, options)
    short = min(SHORT_RUN[method], options["iterations"])
    starts = Starts(likelihood, _on_all_contexts(options), options["seed"], short, first)
    reached = ascend(
        likelihood,
        make,
        starts,
        _renewed(
            likelihood, options["restarts"], 0 if first and options["restarts"] == 1 else RENEWALS
        ),
        iterations=options["iterations"],
        tolerance=options["tolerance"],
        checkpoint=file,
        pace=Pace(method, options["restarts"], options["iterations"], progress),
        monotone=monotone,
    )
    best = max(reached, key=lambda one: one.objective)
    warnings = doubts_about_ascent(reached, best, method) + doubts_about_point(
        likelihood, best.values
    )
    errors: dict[str, NDArray[np.float64]] = {}
    if standard_errors:
        curvature = observed_information(likelihood, best.values)
        errors = curvature.standard_errors
        if curvature.invalid_because:
            warnings.append(f"No standard errors: {curvature.invalid_because}.")
    return Found(
        {name: value.numpy()[None, None] for name, value in best.values.items()},
        history=tuple(np.array(one.history) for one in reached),
        restarts=np.array([one.objective for one in reached]),
        errors=errors,
        converged=best.converged,
        warnings=warnings,
    )


def _renewed(
    likelihood: Likelihood, restarts: int, more: int
) -> Callable[[Sequence[Reached]], int]:
    """Return how many runs there are to be: more where the best of all ended on a plateau."""

    def wanted(done: Sequence[Reached]) -> int:
        if len(done) < restarts or len(done) == restarts + more:
            return max(len(done), restarts)
        best = max(done, key=lambda one: one.objective)
        return len(done) + bool(flat_concepts(likelihood, best.values))

    return wanted


def _on_all_contexts(options: Mapping[str, Any]) -> Make:
    """Return the method's ascent without minibatches, for short runs."""
    if options["method"] != "em":
        return FullBatch
    return lambda likelihood, start: ExpectationMaximisation(
        likelihood, plan_m_step(likelihood.program), start
    )


def _ascent(
    likelihood: Likelihood, options: Mapping[str, Any]
) -> tuple[Callable[[Mapping[str, Tensor]], Ascent], bool]:
    if options["method"] == "em":
        plan = plan_m_step(likelihood.program)
        return lambda start: ExpectationMaximisation(likelihood, plan, start), True
    if options["batch_size"] is None:
        return lambda start: FullBatch(likelihood, start), True
    size = min(options["batch_size"], likelihood.n_contexts)
    return (
        lambda start: Minibatches(
            likelihood,
            start,
            batch_size=size,
            passes=options["iterations"],
            learning_rate=options["learning_rate"],
            seed=options["seed"],
        ),
        False,
    )


def _run_variational(
    likelihood: Likelihood,
    options: Mapping[str, Any],
    first: dict[str, Tensor] | None,
    file: Checkpoint,
    progress: Report | None,
    standard_errors: bool,
) -> Found:
    del first, standard_errors
    found = variational(
        likelihood,
        guide=options["guide"],
        steps=options["iterations"],
        learning_rate=options["learning_rate"],
        batch_size=options["batch_size"],
        draws=options["draws"],
        run=0,
        seed=options["seed"],
        checkpoint=file,
        pace=Pace("svi", 1, options["iterations"], progress),
    )
    draws = {name: values[None] for name, values in found.draws.items()}
    return Found(draws, history=(found.history,), restarts=np.array([found.bound]))


def _run_chains(
    likelihood: Likelihood,
    options: Mapping[str, Any],
    first: dict[str, Tensor] | None,
    file: Checkpoint,
    progress: Report | None,
    standard_errors: bool,
) -> Found:
    del standard_errors
    n_iterations = options["warmup"] + options["draws"]
    chains = sample_chains(
        likelihood,
        chains=options["chains"],
        warmup=options["warmup"],
        draws=options["draws"],
        seed=options["seed"],
        target_acceptance=options["target_acceptance"],
        max_tree_depth=options["max_tree_depth"],
        start=first,
        checkpoint=file,
        pace=Pace("nuts", options["chains"], n_iterations, progress),
    )
    draws = {name: np.stack([chain.draws[name] for chain in chains]) for name in chains[0].draws}
    stats = {n: np.stack([chain.stats[n] for chain in chains]) for n in chains[0].stats}
    warmup = {n: np.stack([chain.warmup[n] for chain in chains]) for n in chains[0].warmup}
    n_diverging = int(stats["diverging"].sum())
    warnings = []
    if n_diverging:
        warnings.append(
            f"{n_diverging} of {stats['diverging'].size:,} transitions diverged: the draws may "
            f"miss a part of the posterior; raise target_acceptance."
        )
    return Found(
        draws,
        stats=stats,
        warmup=warmup,
        history=tuple(chain.history for chain in chains),
        log_evidence=likelihood.weighted_tokens
        * np.stack([chain.history[options["warmup"] :] for chain in chains]),
        converged=not n_diverging,
        warnings=warnings,
    )


_RUNS = {"em": _run_ascent, "map": _run_ascent, "svi": _run_variational, "nuts": _run_chains}
