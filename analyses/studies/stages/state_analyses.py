"""Every analysis of one model's states against one posterior, beside its controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from concept_ppl.analyses import (
    CanonicalCorrelations,
    ContrastTables,
    ControlComparison,
    DecomposedStates,
    Equivalence,
    GoodnessOfFit,
    Invertibility,
    LayerCurve,
    Linearity,
    PosteriorForm,
    Probe,
    canonical_correlations,
    contrast_tables,
    decoded_contrasts,
    decompose_states,
    equivalence,
    goodness_of_fit,
    invertibility,
    layer_curve,
    linearity,
    posterior_form,
)
from concept_ppl.contexts.posterior_tables import probabilities
from concept_ppl.errors import InputError, listed

from .announcements import Counter
from .concept_probes import concept_probes
from .posterior_contrasts import log_posteriors, map_one_hot, varying_log_odds

Array = NDArray[np.float64]
LOG_ODDS = "log_odds"
POSTERIOR = "posterior"
RANDOM_WEIGHTS = "random weights"
MAP_ONE_HOT = "MAP one-hot"
CLAIMS: Mapping[str, Callable[..., Any]] = {
    "equivalence": equivalence,
    "invertibility": invertibility,
    "linearity": linearity,
}
Control = NDArray[np.float32] | Mapping[str, NDArray[Any]]
"""An array (n_rows, d), or a family of arrays of which each fold takes the best."""
EXACT, FITTED, GIVEN = "exact", "fitted", "given"
N_FORMS = 4
"""Of how many controls the form stands beside the model's: those that tell most."""


@dataclass(frozen=True)
class StateAnalyses:
    """The answers, and the little data that the figures show.

    Attributes
    ----------
    headline : str
        The site whose state the headline is about.
    curve, random_curve : LayerCurve
        Along the sites, of the model and of the same architecture with random weights (or None).
    fits, correlations : mapping of str to result
        At the headline site, by target: ``log_odds``, ``posterior``.
    equivalence : Equivalence
        The claim of the study, at the headline site: linear and invertible in the log-odds.
    invertibility, linearity, form
        At the headline site: rank and conditioning, affinity, log-posterior or posterior.
    map_one_hot : GoodnessOfFit
        What the most probable values alone tell of the log-odds.
    tables : ContrastTables
    contrasts : tuple of str
    posterior_is : str
        What the posterior is: ``exact``, of a world that is known, ``fitted`` to other texts, or
        ``given`` by whoever made the table.
    rules : ControlComparison or None
        The headline state beside hard-wired rules: what a mechanism that has to be learned would
        tell if it were given.
    true, decoded : array, shape (n_contexts, n_contrasts)
        Log-odds in nats, and as decoded from held-out states.
    probes : tuple of Probe
        Of each concept whose true values were given.
    """

    headline: str
    curve: LayerCurve
    random_curve: LayerCurve | None
    fits: Mapping[str, GoodnessOfFit]
    correlations: Mapping[str, CanonicalCorrelations]
    equivalence: Equivalence
    invertibility: Invertibility
    linearity: Linearity
    form: PosteriorForm
    map_one_hot: GoodnessOfFit
    tables: ContrastTables
    contrasts: tuple[str, ...]
    true: Array
    decoded: Array
    probes: tuple[Probe, ...] = ()
    rules: ControlComparison | None = None
    posterior_is: str = EXACT

    @property
    def controls(self) -> ControlComparison | None:
        """The log-odds at the headline site beside the controls; None where none was given."""
        return self.fits[LOG_ODDS].controls

    def tidy(self) -> pd.DataFrame:
        """Return every number, one row each."""
        frames = [self.curve.tidy()]
        if self.random_curve is not None:
            frames.append(self.random_curve.tidy().assign(control=RANDOM_WEIGHTS))
        frames += [fit.tidy() for fit in self.fits.values()]
        frames += [fit.tidy() for fit in self.correlations.values()]
        claims = (self.equivalence, self.invertibility, self.linearity, self.form)
        frames += [claim.tidy() for claim in claims]
        frames.append(self.map_one_hot.tidy().assign(control=MAP_ONE_HOT))
        frames.append(self.tables.tidy())
        frames += [one.tidy() for one in self.probes]
        if self.rules is not None:
            rows = self.rules.tidy()
            frames.append(rows[~rows["control"].isin(["", "best", "shuffled"])])
        # A condition number may have no upper bound; a results file says so by leaving it out.
        return pd.concat(frames, ignore_index=True).replace([np.inf, -np.inf], np.nan)


@dataclass(frozen=True)
class Design:
    """How rows are resampled: folds disjoint by cluster, one seed, one level."""

    clusters: NDArray[np.int64]
    n_folds: int = 5
    seed: int = 0
    level: float = 0.95


def analyse_states(
    states: Mapping[str, NDArray[np.float32]],
    posterior: pd.DataFrame,
    design: Design,
    *,
    headline: str,
    controls: Mapping[str, Control],
    rules: Mapping[str, Control] | None = None,
    random_states: Mapping[str, NDArray[np.float32]] | None = None,
    values: Mapping[str, Sequence[object]] | None = None,
    posterior_is: str = EXACT,
    progress: Callable[[int, int], None] | None = None,
) -> StateAnalyses:
    """Run every analysis.

    Parameters
    ----------
    states
        The model's states by site, each (n_contexts, width), in the order of depth.
    posterior
        A posterior table (see `concept_ppl.contexts.posterior_tables`), a row for each context.
    design
        Clusters, folds, seed, level.
    headline
        The site whose state is the headline, named before looking at the data.
    controls
        Arrays (n_contexts, d), or families of them, that a model must beat.
    rules
        The same, of hard-wired rules that stand beside the model without being controls.
    random_states
        States of the same architecture with random weights at the same sites.
    values
        For each concept that is to be probed, its true value in every row.
    posterior_is
        What pages call the posterior.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    InputError
        If rows do not match, a log-odds is infinite or constant, or a state is not finite.
    """
    if headline not in states:
        raise InputError(f"no states at site '{headline}'; there are: {listed(states)}.")
    random_states = random_states or {}
    odds = varying_log_odds(posterior)
    n_steps = len(states) + len(random_states) + 3 + len(CLAIMS)
    bench = _Bench(odds, design, headline, Counter(n_steps, progress))
    P = probabilities(posterior).to_numpy(np.float64)
    curve, F = bench.curve(states)
    random_curve, random_headline = bench.curve(random_states) if random_states else (None, None)
    rivals: dict[str, Any] = dict(controls)
    if random_headline is not None:
        rivals[RANDOM_WEIGHTS] = random_headline
    one_hot = bench.decompose(map_one_hot(posterior).astype(np.float32))
    names, Z, level = bench.names, bench.Z, design.level
    of_log_odds = bench.fit(F, Z, LOG_ODDS, rivals or None)
    bench.counter.step()
    forms = strongest(rivals, of_log_odds.controls)
    return StateAnalyses(
        headline=headline,
        curve=curve,
        random_curve=random_curve,
        fits={LOG_ODDS: of_log_odds, POSTERIOR: bench.fit(F, P, POSTERIOR)},
        correlations={
            LOG_ODDS: bench.correlate(F, Z, LOG_ODDS),
            POSTERIOR: bench.correlate(F, P, POSTERIOR),
        },
        **bench.claims(F, log_posteriors(posterior), forms),
        map_one_hot=bench.fit(one_hot, Z, LOG_ODDS),
        tables=contrast_tables(F, Z, names=names, layer=headline, level=level),
        contrasts=names,
        true=Z,
        decoded=decoded_contrasts(F, Z),
        probes=concept_probes(
            F, posterior, values or {}, layer=headline, seed=design.seed, level=level
        ),
        rules=bench.fit(F, Z, LOG_ODDS, rules).controls if rules else None,
        posterior_is=posterior_is,
    )


def strongest(
    rivals: Mapping[str, Any], found: ControlComparison | None, n: int = N_FORMS
) -> dict[str, Any]:
    """Return the ``n`` controls that tell most; of a family the member that most folds chose."""
    if found is None:
        return {}
    best = sorted(found.controls, key=lambda one: -one.share.estimate)
    kept: dict[str, Any] = {}
    for one in best[:n]:
        control = rivals[one.name]
        if not (isinstance(control, DecomposedStates) or varies(control)):
            continue
        if isinstance(control, Mapping):
            member = one.members[0] if one.members else ""
            kept[f"{one.name} ({member})" if member else one.name] = control[member]
        else:
            kept[one.name] = control
    return kept


@dataclass
class _Bench:
    """What every analysis of one posterior shares: contrasts, design, labels."""

    odds: pd.DataFrame
    design: Design
    headline: str
    counter: Counter

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.odds.columns)

    @property
    def Z(self) -> Array:  # noqa: N802
        return self.odds.to_numpy(np.float64)

    def decompose(self, array: NDArray[np.float32]) -> DecomposedStates:
        if len(array) != len(self.odds):
            raise InputError(
                f"{len(array):,} states do not match {len(self.odds):,} posterior rows."
            )
        # Eigendecompositions wait for all threads at every step: beside another process, two
        # threads were seen to take ten times as long as one.
        with threadpool_limits(1, user_api="blas"):
            result = decompose_states(
                array.astype(np.float64),
                clusters=self.design.clusters,
                n_folds=self.design.n_folds,
                seed=self.design.seed,
            )
        self.counter.step()
        return result

    def curve(
        self, arrays: Mapping[str, NDArray[np.float32]]
    ) -> tuple[LayerCurve, DecomposedStates]:
        """Fit each site that varies; keep the headline's decomposition alone: they are large."""
        fits, kept = [], None
        for site, array in arrays.items():
            if not varies(array):
                self.counter.step()
                continue
            one = self.decompose(array)
            curve = layer_curve({site: one}, self.Z, names=self.names, level=self.design.level)
            fits.append(curve.fits[0])
            kept = one if site == self.headline else kept
            del one  # or it would lie beside the next
        if kept is None:
            raise InputError(f"the state at site '{self.headline}' is the same for every context.")
        return LayerCurve(tuple(fits), LOG_ODDS), kept

    def fit(
        self,
        F: DecomposedStates,
        Z: Array,
        target: str,
        controls: Mapping[str, Any] | None = None,
    ) -> GoodnessOfFit:
        return goodness_of_fit(
            F,
            Z,
            controls=controls,
            names=self.names,
            target=target,
            layer=self.headline,
            seed=self.design.seed,
            level=self.design.level,
        )

    def claims(
        self, F: DecomposedStates, log_p: list[Array], controls: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Test each part of the claim at the headline site."""
        options: dict[str, Any] = {
            "layer": self.headline,
            "seed": self.design.seed,
            "level": self.design.level,
        }
        answers: dict[str, Any] = {}
        for name, claim in CLAIMS.items():
            answers[name] = claim(F, self.Z, names=self.names, target=LOG_ODDS, **options)
            self.counter.step()
        answers["form"] = posterior_form(
            F, log_p, controls=controls or None, target=POSTERIOR, **options
        )
        self.counter.step()
        return answers

    def correlate(self, F: DecomposedStates, Z: Array, target: str) -> CanonicalCorrelations:
        return canonical_correlations(
            F, Z, names=self.names, target=target, layer=self.headline, level=self.design.level
        )


def varies(control: Control) -> bool:
    """Whether contexts differ at all: the embedding of a closing token is the same for each."""
    arrays = control.values() if isinstance(control, Mapping) else [control]
    return any(bool((array != array[0]).any()) for array in arrays)
