"""What a fit says: parameters, how sure they are, and how well each context is foretold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.formatting import MINUS, number

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Parameters of a generative model, learned from tokens.

    Attributes
    ----------
    method : str
        ``em``, ``map``, ``svi`` or ``nuts``.
    model : str
        Where the model is: its zoo name or ``path/to/file.py[:name]``; for a function that was not
        loaded from a file, its name.
    build : mapping of str to object
        Arguments with which :func:`~concept_ppl.load_model` built it.
    options : mapping of str to object
        Arguments of the method, its seed among them.
    shapes : mapping of str to tuple of int
        Of each parameter (a continuous site or ``pyro.param``), in program order.
    draws : mapping of str to float64 array, shape (n_chains, n_draws, *shape)
        As they were drawn, labels not matched: the posterior's draws, or the point that ``em`` and
        ``map`` reach, as one chain of one draw.
    matches : mapping of str to int64 array, shape (n_chains, n_draws, n_values)
        For each concept whose values may swap their names without a change of the likelihood: the
        draw's own value that plays the part of each value of the reference (the draw of highest
        density; the best restart).
    matched : mapping of str to float64 array, shape (n_chains, n_draws, *shape)
        The draws with their labels matched to the reference; what reports and diagnostics read.
    sample_stats : mapping of str to array, shape (n_chains, n_draws)
        ``lp`` (log posterior density up to a constant, of the parameters as the program has them);
        ``nuts`` ``diverging``, ``step_size``, ``tree_depth``, ``n_steps``, ``acceptance_rate`` and
        ``energy``.
    warmup : mapping of str to float64 array, shape (n_chains, …)
        What ``nuts`` has adapted: ``step_size``, ``inverse_mass_diagonal``, ``diverging``.
    log_likelihood : float64 array, shape (n_chains, n_draws, n_contexts), or None
        log p(x) of each context, unweighted, in nats; None where it was not asked for.
    log_evidence : float64 array, shape (n_chains, n_draws)
        Σ weight · log p(x).
    history : tuple of float64 array
        For each restart (or chain), log-evidence per token at each iteration.
    restarts : float64 array, shape (n_restarts,)
        The objective that each restart reached; the best one is in ``draws``.
    standard_errors : mapping of str to float64 array, shape as the parameter
        From the observed information, for ``em`` and ``map``; NaN on the edge of the parameter's
        range, where it says nothing; empty where it could not be computed (a warning says why).
    n_parameters : int
        Free ones: a row of probabilities has one less than it has values that these tokens read;
        a value that never occurs where the row is read is zero at the top, and not free.
    n_contexts, n_tokens : int
        Contexts, and observed tokens in them.
    weights : float64 array, shape (n_contexts,), or None
        None where every context counts once.
    converged : bool
        Whether the method reached its own tolerance; ``nuts``: no divergence.
    warnings : tuple of str
        One sentence each.
    """

    method: str
    model: str
    build: Mapping[str, Any]
    options: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    draws: Mapping[str, Array]
    matches: Mapping[str, NDArray[np.int64]]
    matched: Mapping[str, Array]
    sample_stats: Mapping[str, NDArray[Any]]
    log_likelihood: Array | None
    log_evidence: Array
    n_parameters: int
    n_contexts: int
    n_tokens: int
    weights: Array | None = None
    history: tuple[Array, ...] = ()
    restarts: Array = field(default_factory=lambda: np.empty(0))
    standard_errors: Mapping[str, Array] = field(default_factory=dict)
    warmup: Mapping[str, Array] = field(default_factory=dict)
    converged: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def is_point(self) -> bool:
        """Whether the fit is one point, not a posterior."""
        return self.method in {"em", "map"}

    @property
    def values(self) -> dict[str, Array]:
        """Return one value for each parameter, for ``values=``: the point, or the matched mean."""
        return {name: draws.mean((0, 1)) for name, draws in self.matched.items()}

    @property
    def switched(self) -> dict[str, float]:
        """Return, for each concept, the share of draws whose labels differ from the reference."""
        return {
            name: float((match != np.arange(match.shape[-1])).any(-1).mean())
            for name, match in self.matches.items()
        }

    def tidy(self) -> pd.DataFrame:
        """Return one row a number: ``parameter, index, estimate, std_error``.

        The standard error is that of the observed information, or the posterior's standard
        deviation over matched draws.
        """
        values = self.values
        errors = {
            name: self.standard_errors.get(name, np.full(values[name].shape, np.nan))
            if self.is_point
            else draws.reshape(-1, *draws.shape[2:]).std(0, ddof=1)
            for name, draws in self.matched.items()
        }
        rows = [
            (name, ",".join(map(str, index)), float(value), float(errors[name][index]))
            for name, table in values.items()
            for index, value in np.ndenumerate(table)
        ]
        return pd.DataFrame(rows, columns=["parameter", "index", "estimate", "std_error"])

    def summary(self) -> str:
        """Return the fit in a few sentences."""
        per_token = self.log_evidence.mean() / max(self.n_tokens, 1)
        lines = [
            f"{self.method} fit of {self.model}: {self.n_contexts:,} contexts, "
            f"{self.n_tokens:,} tokens, {self.n_parameters} free parameters.",
            f"Log-evidence {number(self.log_evidence.mean(), 2)} nats, "
            f"{number(per_token, 4)} a token.",
        ]
        if self.is_point and len(self.restarts):
            lines.append(self._maximised())
        lines += [
            f"Labels of '{name}' were matched in {share:.0%} of the draws."
            for name, share in self.switched.items()
            if share
        ]
        return "\n".join([*lines, *self.warnings])

    def _maximised(self) -> str:
        """Say what the restarts climbed, and how high: beside a prior it is not the evidence."""
        log_evidence = float(self.log_evidence[0, 0])
        best = float(self.restarts.max())
        log_prior = best - log_evidence
        what = "Maximised is the log-evidence"
        if abs(log_prior) > 1e-9 * max(1.0, abs(best)):
            what += f" + log prior density of the parameters, {number(best, 2)} = "
            sign = MINUS if log_prior < 0 else "+"
            what += f"{number(log_evidence, 2)} {sign} {number(abs(log_prior), 2)}"
        if len(self.restarts) == 1:
            return f"{what}."
        reached = ", ".join(number(value, 2) for value in np.sort(self.restarts)[::-1])
        return f"{what}; restarts reached {reached}."
