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
from concept_ppl.contexts.posterior_tables import concept_columns, log_odds, probabilities
from concept_ppl.errors import InputError, listed

from .announcements import Counter
from .concept_probes import concept_probes

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
    controls: Mapping[str, NDArray[np.float32]],
    random_states: Mapping[str, NDArray[np.float32]] | None = None,
    values: Mapping[str, Sequence[object]] | None = None,
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
        Arrays (n_contexts, d) that a model must beat.
    random_states
        States of the same architecture with random weights at the same sites.
    values
        For each concept that is to be probed, its true value in every row.
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
    n_steps = len(states) + len(random_states) + len(controls) + 2 + len(CLAIMS)
    bench = _Bench(odds, design, headline, Counter(n_steps, progress))
    P = probabilities(posterior).to_numpy(np.float64)
    curve, F = bench.curve(states)
    random_curve, random_headline = bench.curve(random_states) if random_states else (None, None)
    rivals = {name: bench.rival(array) for name, array in controls.items()}
    if random_headline is not None:
        rivals[RANDOM_WEIGHTS] = random_headline
    one_hot = bench.decompose(map_one_hot(posterior).astype(np.float32))
    names, Z, level = bench.names, bench.Z, design.level
    return StateAnalyses(
        headline=headline,
        curve=curve,
        random_curve=random_curve,
        fits={
            LOG_ODDS: bench.fit(F, Z, LOG_ODDS, rivals or None),
            POSTERIOR: bench.fit(F, P, POSTERIOR),
        },
        correlations={
            LOG_ODDS: bench.correlate(F, Z, LOG_ODDS),
            POSTERIOR: bench.correlate(F, P, POSTERIOR),
        },
        **bench.claims(F, log_posteriors(posterior)),
        map_one_hot=bench.fit(one_hot, Z, LOG_ODDS),
        tables=contrast_tables(F, Z, names=names, layer=headline, level=level),
        contrasts=names,
        true=Z,
        decoded=decoded_contrasts(F, Z),
        probes=concept_probes(
            F, posterior, values or {}, layer=headline, seed=design.seed, level=level
        ),
    )


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

    def rival(self, array: NDArray[np.float32]) -> DecomposedStates | Array:
        """Decompose a control; one that never varies stays an array and predicts the mean."""
        if not _varies(array):
            self.counter.step()
            return array.astype(np.float64)
        return self.decompose(array)

    def curve(
        self, arrays: Mapping[str, NDArray[np.float32]]
    ) -> tuple[LayerCurve, DecomposedStates]:
        """Fit each site that varies; keep the headline's decomposition alone: they are large."""
        fits, kept = [], None
        for site, array in arrays.items():
            if not _varies(array):
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
        controls: Mapping[str, DecomposedStates | Array] | None = None,
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

    def claims(self, F: DecomposedStates, log_p: list[Array]) -> dict[str, Any]:
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
        answers["form"] = posterior_form(F, log_p, target=POSTERIOR, **options)
        self.counter.step()
        return answers

    def correlate(self, F: DecomposedStates, Z: Array, target: str) -> CanonicalCorrelations:
        return canonical_correlations(
            F, Z, names=self.names, target=target, layer=self.headline, level=self.design.level
        )


def _varies(array: NDArray[np.float32]) -> bool:
    """Whether contexts differ at all: the embedding of a closing token is the same for each."""
    return bool((array != array[0]).any())


def varying_log_odds(posterior: pd.DataFrame, name: str = "the posterior") -> pd.DataFrame:
    """Return the log-odds of a posterior table, all of them finite and none constant.

    Parameters
    ----------
    posterior
        A posterior table.
    name
        What messages call it.

    Raises
    ------
    InputError
        If log-odds are infinite or undefined in a row, or the same in every row.
    """
    try:
        odds = log_odds(posterior)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    values = odds.to_numpy(np.float64)
    infinite = np.argwhere(~np.isfinite(values))
    if len(infinite):
        row, column = infinite[0]
        raise InputError(
            f"{name}, row {row}: the log-odds {odds.columns[column]} are infinite; a value is "
            f"impossible there, so leave such rows out or give the model no zeros."
        )
    constant = np.flatnonzero((values == values[0]).all(axis=0))
    if len(constant):
        raise InputError(
            f"{name}: the log-odds {odds.columns[constant[0]]} are the same in every row, so no "
            f"state can tell them; give contexts that differ, or leave the concept out."
        )
    return odds


def log_posteriors(posterior: pd.DataFrame) -> list[Array]:
    """Return log p of every value, nats, an array (n, K) for each concept."""
    return [posterior[names].to_numpy(np.float64) for names in concept_columns(posterior).values()]


def map_one_hot(posterior: pd.DataFrame) -> Array:
    """Return an indicator of each concept's most probable value, all but the first, per row."""
    blocks = []
    for columns in concept_columns(posterior).values():
        table = posterior[columns].to_numpy(np.float64)
        blocks.append(np.eye(len(columns))[table.argmax(1)][:, 1:])
    return np.hstack(blocks)


def cluster_by_row(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of each row's distinct row, counted as they first appear."""
    whole_row = np.dtype((np.void, rows.itemsize * rows.shape[1]))
    as_bytes = np.ascontiguousarray(rows).view(whole_row).reshape(-1)
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[inverse], np.int64)


def cluster_by_states(states: Mapping[str, NDArray[np.float32]]) -> NDArray[np.int64]:
    """Return the number of each row's distinct context, as told by its states at all sites.

    Equal contexts have equal states. At one site alone different contexts can agree, too: the
    embedding of a closing comma is the same for each of them.
    """
    by_site = np.column_stack([cluster_by_row(rows) for rows in states.values()])
    return cluster_by_row(by_site)
