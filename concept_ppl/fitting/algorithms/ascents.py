"""To the top from several starts: EM and the posterior mode, restarted, watched and resumed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from concept_ppl.errors import InputError
from concept_ppl.fitting.likelihoods.likelihood import Likelihood

from .checkpoints import Checkpoint

DESCENT = 1e-8
"""Relative fall of the objective that is more than rounding."""

SETTLED = 1e-4
"""Nats a token between the last two passes of a search by minibatches that has settled."""


@dataclass(frozen=True)
class Progress:
    """Where a fit stands.

    Attributes
    ----------
    method : str
    run, n_runs : int
        The restart or chain, from 1.
    iteration, n_iterations : int
        ``n_iterations`` is the most that there will be.
    log_evidence_per_token : float
        In nats; of ``svi`` the evidence lower bound.
    seconds_left : float
        At most, at the pace so far, all restarts or chains together.
    """

    method: str
    run: int
    n_runs: int
    iteration: int
    n_iterations: int
    log_evidence_per_token: float
    seconds_left: float


Report = Callable[[Progress], None]


@dataclass
class Pace:
    """Tells how far a fit is, and how long it still takes at most."""

    method: str
    n_runs: int
    n_iterations: int
    report: Report | None
    done: int = 0
    start: float = field(default_factory=time.monotonic)

    def tell(self, run: int, iteration: int, per_token: float) -> None:
        """Report one more iteration of a run, both counted from 0."""
        self.n_runs = max(self.n_runs, run + 1)
        self.done += 1
        if self.report is None:
            return
        total = self.n_runs * self.n_iterations
        left = total - run * self.n_iterations - iteration - 1
        seconds = (time.monotonic() - self.start) / self.done * left
        self.report(
            Progress(
                self.method,
                run + 1,
                self.n_runs,
                iteration + 1,
                self.n_iterations,
                per_token,
                seconds,
            )
        )


class Ascent(Protocol):
    """A series of steps uphill; ``values`` are the parameters that the last step evaluated.

    ``leapt`` says that the last step was extrapolated: a small gain of it is no end.
    """

    values: dict[str, Tensor]
    leapt: bool

    def step(self) -> tuple[float, float]:
        """Return log-evidence and log prior of ``values``, and find better ones."""

    def advance(self) -> None:
        """Move to the better ones."""

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


@dataclass(frozen=True)
class Reached:
    """What one restart reached."""

    values: dict[str, Tensor]
    log_evidence: float
    log_prior: float
    history: tuple[float, ...]
    converged: bool
    fell_at: int | None

    @property
    def objective(self) -> float:
        """Log-evidence + log prior."""
        return self.log_evidence + self.log_prior


def ascend(
    likelihood: Likelihood,
    make: Callable[[Mapping[str, Tensor]], Ascent],
    start_of: Callable[[int], Mapping[str, Tensor]],
    wanted: Callable[[Sequence[Reached]], int],
    *,
    iterations: int,
    tolerance: float,
    checkpoint: Checkpoint,
    pace: Pace,
    monotone: bool = True,
) -> list[Reached]:
    """Climb from each start until an iteration gains less than the tolerance.

    Parameters
    ----------
    start_of
        The start of each run, by its number.
    wanted
        How many runs there are to be, after what those done have reached.
    tolerance
        Of log-evidence + log prior, in nats a token.
    monotone
        Whether the objective can only rise, so that a fall is noted and a small gain is the end.
    """
    state = checkpoint.load() or {"done": [], "current": None}
    done = [Reached(**{**one, "history": tuple(one["history"])}) for one in state["done"]]
    current = state["current"]
    while (run := len(done)) < wanted(done):
        ascent = make(start_of(run))
        history: list[tuple[float, float]] = []
        if current is not None:
            ascent.restore(current["ascent"])
            history = [(evidence, prior) for evidence, prior in current["history"]]
            current = None
        reached = _climb(
            likelihood,
            ascent,
            history,
            iterations,
            tolerance if monotone else -np.inf,
            lambda a, h: checkpoint.save(
                lambda: {
                    "done": [vars(r) for r in done],
                    "current": {"ascent": a.state(), "history": list(h)},
                }
            ),
            lambda iteration, value, r=run: pace.tell(r, iteration, value),  # type: ignore[misc]
        )
        done.append(reached)
        checkpoint.save(lambda: {"done": [vars(r) for r in done], "current": None}, now=True)
    return done


def _climb(
    likelihood: Likelihood,
    ascent: Ascent,
    history: list[tuple[float, float]],
    iterations: int,
    tolerance: float,
    save: Callable[[Ascent, Sequence[tuple[float, float]]], None],
    tell: Callable[[int, float], None],
) -> Reached:
    n_tokens, converged, fell_at = likelihood.weighted_tokens, False, None
    last = sum(history[-1]) if history else -np.inf
    for iteration in range(len(history), iterations):
        log_evidence, log_prior = ascent.step()
        objective = log_evidence + log_prior
        if not np.isfinite(objective):
            _require_possible(likelihood, ascent.values, iteration)
        history.append((log_evidence, log_prior))
        tell(iteration, log_evidence / n_tokens)
        gain = objective - last
        if gain < -DESCENT * max(abs(objective), 1.0) and tolerance >= 0 and fell_at is None:
            fell_at = iteration
        last = objective
        if gain < tolerance * n_tokens and not ascent.leapt:
            converged = True
            break
        if iteration + 1 < iterations:
            ascent.advance()
            save(ascent, history)
    per_token = tuple(evidence / n_tokens for evidence, _ in history)
    values = {name: value.detach().clone() for name, value in ascent.values.items()}
    if tolerance < 0 and len(history) > 1:
        converged = abs(sum(history[-1]) - sum(history[-2])) < SETTLED * n_tokens
    return Reached(values, *history[-1], per_token, converged, fell_at)


def _require_possible(likelihood: Likelihood, values: Mapping[str, Tensor], iteration: int) -> None:
    each = likelihood.each(values)
    rows = np.flatnonzero(~np.isfinite(each))
    where = "the start" if iteration == 0 else f"iteration {iteration}"
    if len(rows):
        raise InputError(
            f"row {rows[0]} has probability zero at {where}, as have {len(rows) - 1:,} others; "
            f"give a start without zeros."
        )
    raise InputError(f"the log prior is not finite at {where}; give another start.")
