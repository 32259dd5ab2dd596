"""EM: expected counts by one exact pass over the contexts, then the best parameters for them.

E-step: the expected count of each table cell is the gradient of the log-evidence with respect to
its logarithm. M-step: a row of probabilities that a table reads unchanged becomes its counts, plus
its Dirichlet concentration less one, over their sum (the posterior mode); what a table computes in
some other way climbs the expected log-likelihood by L-BFGS (generalised EM). Neither step lowers
log-evidence + log prior. Source: Dempster, Laird and Rubin (1977); Meng and Rubin (1993),
https://doi.org/10.1093/biomet/80.2.267.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from concept_ppl.errors import ModelError
from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.parameters import Parameter, flatten, unflatten
from concept_ppl.fitting.likelihoods.program import Program
from concept_ppl.fitting.likelihoods.row_counts import row_counts
from concept_ppl.fitting.likelihoods.ties import View

from .extrapolation import Leaps

FIRST_LEAP, STRETCH = 4.0, 4.0
"""The longest first leap; the bound grows and falls by this factor with success and failure."""
GRADIENT_STEPS = 3
"""L-BFGS iterations of one M-step: any gain will do, and the E-step moves the target anyway."""


@dataclass(frozen=True)
class ClosedForm:
    """A parameter whose best rows are expected counts, normalised.

    Attributes
    ----------
    view : View
    start : int
        Its first row among the stacked rows of its width.
    pseudo_counts : Tensor, shape (n_own, width)
        Dirichlet concentration − 1; 0 for ``pyro.param``.
    """

    view: View
    start: int
    pseudo_counts: Tensor


@dataclass(frozen=True)
class MStep:
    """How each parameter is updated: in closed form, or (``open``) by its gradient."""

    closed: tuple[ClosedForm, ...]
    open: Mapping[str, Parameter]


def plan_m_step(program: Program) -> MStep:
    """Decide which parameters have a closed form."""
    starts, used = _view_starts(program), _used_rows(program)
    closed = []
    for name in sorted(program.closed):
        parameter = program.parameters[name]
        views = [
            view
            for view in program.views
            if view.name == name
            and used[view.width] & set(range(starts[view], starts[view] + view.n_rows))
        ]
        if len(views) != 1 or (pseudo := pseudo_counts(parameter, views[0])) is None:
            continue
        closed.append(ClosedForm(views[0], starts[views[0]], pseudo))
    done = {form.view.name for form in closed}
    rest = {name: p for name, p in program.parameters.items() if name not in done}
    return MStep(tuple(closed), rest)


def _view_starts(program: Program) -> dict[View, int]:
    starts, width_so_far = {}, dict[int, int]()
    for view in program.views:
        starts[view] = width_so_far.get(view.width, 0)
        width_so_far[view.width] = starts[view] + view.n_rows
    return starts


def _used_rows(program: Program) -> dict[int, set[int]]:
    used: dict[int, set[int]] = {view.width: set() for view in program.views}
    for piece in program.pieces:
        for tie in piece.ties:
            if tie.width in used:
                used[tie.width] |= set(tie.index[tie.index >= 0].tolist())
    return used


def base_of(prior: Any) -> Any:
    """Return the distribution below ``expand`` and ``to_event``."""
    while hasattr(prior, "base_dist") and not isinstance(prior, dist.TransformedDistribution):
        prior = prior.base_dist
    return prior


def pseudo_counts(parameter: Parameter, view: View) -> Tensor | None:
    """Return what a prior adds to the counts of each row, or None where it has no such form."""
    if parameter.prior is None:
        return torch.zeros((view.n_own, view.width), dtype=torch.float64)
    base = base_of(parameter.prior)
    if view.kind == "simplex" and isinstance(base, dist.Dirichlet):
        concentration: Tensor = base.concentration.expand(parameter.shape)
        own = (concentration - 1).reshape(view.n_own, view.n_values).double()
        return torch.nn.functional.pad(own, (0, view.padding))
    if view.kind == "unit" and isinstance(base, dist.Beta):
        no = base.concentration0.expand(parameter.shape).reshape(-1)
        yes = base.concentration1.expand(parameter.shape).reshape(-1)
        return (torch.stack([no, yes], -1) - 1).double()
    return None


def require_mode(program: Program) -> None:
    """Refuse priors whose density has no maximum.

    Raises
    ------
    ModelError
        If a Dirichlet or Beta site has a concentration below one; the message names it.
    """
    for name, parameter in program.parameters.items():
        base = base_of(parameter.prior)
        if isinstance(base, dist.Beta):
            least = min(float(base.concentration0.min()), float(base.concentration1.min()))
        elif isinstance(base, dist.Dirichlet):
            least = float(base.concentration.min())
        else:
            continue
        if least < 1 and program.fixed_priors:
            raise ModelError(
                f"site '{name}' has a concentration of {least:g}, below 1: its density grows "
                f"without bound towards zero, so there is no mode; use a concentration of at least "
                f"1, or method 'nuts' or 'svi'."
            )


def m_step(
    program: Program,
    plan: MStep,
    values: Mapping[str, Tensor],
    counts: Sequence[Sequence[Tensor]],
) -> dict[str, Tensor]:
    """Return better parameters for expected counts, of each piece's tables."""
    updated = dict(values)
    by_width = row_counts(program, counts)
    for form in plan.closed:
        view = form.view
        found = by_width[view.width][form.start : form.start + view.n_rows]
        weights = (view.own(found) + form.pseudo_counts).clamp_min(0)
        mass = weights.sum(-1, keepdim=True)
        name, shape = view.name, program.parameters[view.name].shape
        before = view.log_rows(values[name])[: view.n_own].exp()
        rows = torch.where(mass > 0, weights / mass.clamp_min(1e-300), before)
        updated[name] = view.value(rows, shape)
    return _climb(program, plan.open, updated, counts) if plan.open else updated


def _climb(
    program: Program,
    parameters: Mapping[str, Parameter],
    values: dict[str, Tensor],
    counts: Sequence[Sequence[Tensor]],
) -> dict[str, Tensor]:
    """Climb the expected complete log-likelihood + log prior by L-BFGS; keep it if it is higher."""

    def expected(free: Tensor) -> Tensor:
        own, _ = unflatten(parameters, free)
        tables, log_prior = program.evaluate({**values, **own})
        terms = [
            torch.where(count > 0, count * table, 0.0).sum()
            for piece, found in zip(tables, counts, strict=True)
            for table, count in zip(piece, found, strict=True)
        ]
        return torch.stack(terms).sum() + log_prior

    free = flatten(parameters, values).detach().clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [free], max_iter=GRADIENT_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-9
    )
    with torch.no_grad():
        before = expected(free)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -expected(free)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        after = expected(free)
        own, _ = unflatten(parameters, free)
    return {**values, **own} if bool(after >= before) else values


class ExpectationMaximisation:
    """EM as a series of steps; ``values`` are the parameters that the last step evaluated.

    Two steps are followed by a leap along them (:mod:`.extrapolation`). Where it leads downhill,
    the step that it would have saved is taken instead, and the next leaps are shorter.

    Attributes
    ----------
    values : dict of str to Tensor
    leapt : bool
        Whether ``values`` were reached by a leap, whose gain tells nothing of how near the top is.
    """

    def __init__(self, likelihood: Likelihood, plan: MStep, values: Mapping[str, Tensor]) -> None:
        self.likelihood, self.plan = likelihood, plan
        views = [form.view for form in plan.closed]
        self._leaps = Leaps(likelihood.program.parameters, views)
        self.values = {name: value.double() for name, value in values.items()}
        self.leapt = False
        self._better = self._instead = self.values
        self._trail: list[dict[str, Tensor]] = []
        self._last, self._longest, self._length = -np.inf, FIRST_LEAP, 0.0

    def step(self) -> tuple[float, float]:
        """Return log-evidence and log prior, and find better parameters."""
        log_evidence, log_prior, counts = self.likelihood.expected_counts(self.values)
        if self.leapt and not log_evidence + log_prior >= self._last:
            self._longest = max(self._longest / STRETCH, FIRST_LEAP)
            self.values, self.leapt = self._instead, False
            log_evidence, log_prior, counts = self.likelihood.expected_counts(self.values)
        elif self.leapt and self._length == self._longest:
            self._longest *= STRETCH
        self._last = log_evidence + log_prior
        self._better = m_step(self.likelihood.program, self.plan, self.values, counts)
        return log_evidence, log_prior

    def advance(self) -> None:
        """Move to the better parameters, or leap where two steps have shown the way."""
        self._trail = [*self._trail, self.values] if len(self._trail) < 2 else []
        self.values, self.leapt = self._better, False
        if len(self._trail) == 2:
            points = [*self._trail, self._better]
            ahead, self._length = self._leaps.leap(points, self._longest)
            if self._length > 1:
                self._instead, self.values, self.leapt = self._better, ahead, True

    def state(self) -> dict[str, Any]:
        """Return the parameters, and where the leaps stand."""
        return {
            "values": dict(self.values),
            "instead": dict(self._instead),
            "trail": [dict(point) for point in self._trail],
            "leapt": self.leapt,
            "numbers": [self._last, self._longest, self._length],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.values = self._better = dict(state["values"])
        self._instead, self.leapt = dict(state["instead"]), state["leapt"]
        self._trail = [dict(point) for point in state["trail"]]
        self._last, self._longest, self._length = state["numbers"]
