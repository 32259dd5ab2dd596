"""Is it the log-posterior or the posterior that the states are affine in? The power α answers.

States are regressed on contrasts of (p^α − 1)/α along a grid of α (see `power_path` and
`form_fits`): 0 is the log-posterior, 1 the posterior. The grid runs past both, because an estimate
whose truth lies at the edge of its range has no valid bootstrap interval (Andrews 2000,
https://doi.org/10.1111/1468-0262.00114).

What needs no learning has a form, too: a sum of word vectors is linear in log-likelihoods, and so
nearer to the log-posterior than to the posterior. The form of a model says something of the model
where it differs from that of the best control.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.agreement.contenders import decomposed_control
from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.designs.decomposition import States, as_decomposed
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.analyses.results.figures import BLUE, INK, Panel
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .form_checks import ENDS, check_concepts, check_powers
from .form_fits import (
    FormFit,
    along_path,
    best_power,
    difference_of_forms,
    form_fit,
    holds,
    log_minus_plain,
    whitened_errors,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class ControlForm:
    """The form of one control beside the model's.

    Attributes
    ----------
    name
        Of the control.
    alpha, difference
        As those of `PosteriorForm`.
    share
        Fit of the log-posterior: R² of its whitened contrasts; p-value one-sided, of R² ≤ 0.
    gap
        Logarithm minus posterior of the model, less the same of the control, paired; p-value
        two-sided, of none.
    """

    name: str
    alpha: Estimate
    share: Estimate
    difference: Estimate
    gap: Estimate


@dataclass(frozen=True, slots=True)
class PosteriorForm(Result):
    """Which function of the posterior the states are affine in.

    Attributes
    ----------
    alpha
        Power at which held-out directions fit best, with its percentile bootstrap interval; no
        test. An end of the interval at the edge of the grid means "or beyond".
    profile
        Each power of the grid and the held-out fit there: R² of the whitened contrasts given F,
        which is comparable along the path; intervals hold for one power alone.
    chosen
        The same with α chosen in the training folds; p-value one-sided, of R² ≤ 0.
    difference
        Fit of the log-posterior minus that of the posterior; p-value two-sided, of no difference.
    target, layer
        Labels that the caller gave.
    controls
        The form of each control, where there are any.
    best, gap
        For each fold the control that tells most of the log-posterior inside its training folds,
        and logarithm minus posterior of the model, less the same of that control.
    """

    alpha: Estimate
    profile: tuple[tuple[float, Estimate], ...]
    chosen: Estimate
    difference: Estimate
    target: str
    layer: str
    controls: tuple[ControlForm, ...] = ()
    best: tuple[str, ...] = ()
    gap: Estimate | None = None

    @property
    def verdict(self) -> str:
        """One of: log-posterior, posterior, between, beyond, flat.

        An end of the question is named where the interval of α holds it, or lies within ±0.1 of it.
        Where controls stand beside it, "log-posterior" is said only if the model lies more on the
        side of the logarithm than the best of them, by an interval above 0.
        """
        if not self.chosen.p_value <= 1.0 - self.alpha.ci_level:
            return "flat: the data cannot tell, for the states tell nothing about the posterior"
        log, plain = (holds(self.alpha, end) for end in ENDS)
        if log and plain:
            return "flat: the data cannot tell"
        if log and self.gap is not None and not self.gap.ci_low > 0.0:
            return "as its controls: near the log-posterior, and no nearer than they are"
        if log or plain:
            return "log-posterior" if log else "posterior"
        inside = 0.0 < self.alpha.estimate < 1.0
        return f"{'between' if inside else 'beyond'}: α̂ = {self.alpha.estimate:.2f}"

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Power of the posterior of {self.target}"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return f"Log-posterior or posterior of {self.target}? {self.verdict}"

    def rows(self) -> Iterator[Row]:
        """One row for α, the fit at the chosen α, the difference, and each power of the grid."""
        name = "posterior_form"
        yield Row(name, "alpha", self.target, self.alpha, self.layer)
        yield Row(name, "r2_chosen", self.target, self.chosen, self.layer)
        yield Row(name, "r2_log_minus_plain", self.target, self.difference, self.layer)
        for power, value in self.profile:
            yield Row(name, "r2", f"{self.target}:alpha_{power:g}", value, self.layer)
        for control in self.controls:
            label = (self.layer, control.name)
            yield Row(name, "alpha", self.target, control.alpha, *label)
            yield Row(name, "r2", f"{self.target}:alpha_0", control.share, *label)
            yield Row(name, "r2_log_minus_plain", self.target, control.difference, *label)
            yield Row(name, "log_minus_plain_gap", self.target, control.gap, *label)
        if self.gap is not None:
            yield Row(name, "log_minus_plain_gap", self.target, self.gap, self.layer, "best")

    def lines(self) -> list[str]:
        """Return the verdict, and what it rests on, a line each."""
        return [
            f"  α̂                             {self.alpha}",
            f"  fit, α chosen in training     {self.chosen}",
            f"  log-posterior less posterior  {self.difference}",
            *(f"  fit at α = {power:<6g}            {value}" for power, value in self.profile),
            *(f"  α̂ of {control.name}  {control.alpha}" for control in self.controls),
            *(
                [f"  log less plain, model minus best control ({self.best_names})  {self.gap}"]
                if self.gap is not None
                else []
            ),
        ]

    @property
    def best_names(self) -> str:
        """The controls that the folds chose as the best."""
        return " or ".join(dict.fromkeys(self.best))

    def panel(self) -> Panel:
        """Held-out fit along the path, with the interval of α."""
        return Panel(6.4, 3.6, self._draw)

    def _draw(self, axes: "Axes") -> None:
        powers = [power for power, _ in self.profile]
        fits = [value for _, value in self.profile]
        axes.axvspan(self.alpha.ci_low, self.alpha.ci_high, color="0.9", zorder=0)
        axes.vlines(powers, [fit.ci_low for fit in fits], [fit.ci_high for fit in fits], color=BLUE)
        axes.plot(powers, [fit.estimate for fit in fits], "o-", color=BLUE, ms=4)
        axes.axvline(self.alpha.estimate, color=INK, lw=1.0)
        axes.set_xticks([*ENDS, 0.5], ["log p", "p", "½"])
        axes.set_xlabel("power α")
        axes.set_ylabel("held-out R², whitened contrasts")


def posterior_form(
    F: States,
    log_p: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    controls: Mapping[str, States] | None = None,
    powers: Sequence[float] | None = None,
    n_replicates: int = 200,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    target: str = "posterior",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> PosteriorForm:
    """Estimate the power of the posterior that the states are affine in.

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    log_p
        (n, K) log-probabilities in nats of all values of a concept, or a list of one such array a
        concept. −inf is refused: the log-posterior has no finite value there, and no affine map
        could reach it.
    controls
        Arrays (n, d_control), or decomposed ones on the same design, whose form stands beside the
        model's.
    powers
        Grid of α, ascending, at least four, 0 and 1 among them. By default −¼ to 1½ in steps of ⅛,
        and further, to −1 and 3 at most, where the interval of α reaches the end.
    n_replicates
        Bootstrap replicates; as many as the level needs.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    target, layer
        Labels for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, and replicates, drawn from the seed.
    level
        Confidence level.

    Raises
    ------
    InputError
        If probabilities do not sum to one, are zero, or have collinear contrasts at some power; if
        the grid or the number of replicates does not do; and as `goodness_of_fit`.
    """
    check_level(level)
    grid = None if powers is None else check_powers(powers)
    if n_replicates < 2.0 / (1.0 - level):
        raise InputError(f"n_replicates is {n_replicates}; a level of {level} needs more.")
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    concepts = check_concepts(log_p, design.n)
    options = (concepts, grid, n_replicates, seed, level)
    model = form_fit(states, *options)
    rivals = {
        name: form_fit(decomposed_control(control, design, name), *options)
        for name, control in (controls or {}).items()
    }
    best, gap = _best_beside(model, rivals, level) if rivals else ((), None)
    fits = along_path(model, concepts)
    return PosteriorForm(
        model.alpha,
        tuple(
            (float(power), explained_share(whitened_errors([fit]), level))
            for power, fit in zip(model.powers, fits, strict=True)
        ),
        explained_share(whitened_errors(fits, best_power(fits)), level),
        log_minus_plain(*model.ends, level),
        target,
        layer,
        tuple(_control_form(name, rival, model, level) for name, rival in rivals.items()),
        best,
        gap,
    )


def _control_form(name: str, rival: FormFit, model: FormFit, level: float) -> ControlForm:
    log, plain = rival.ends
    return ControlForm(
        name,
        rival.alpha,
        explained_share(log, level),
        log_minus_plain(log, plain, level),
        difference_of_forms(model.ends, (log, plain), level),
    )


def _best_beside(
    model: FormFit, rivals: Mapping[str, FormFit], level: float
) -> tuple[tuple[str, ...], Estimate]:
    """Name each fold's best control, and set the model beside these, fold by fold."""
    names = list(rivals)
    choice = np.array([rival.log.inner_loss for rival in rivals.values()]).argmin(axis=0)
    log, plain = (
        whitened_errors([getattr(rival, end) for rival in rivals.values()], choice)
        for end in ("log", "plain")
    )
    gap = difference_of_forms(model.ends, (log, plain), level)
    return tuple(names[i] for i in choice), gap
