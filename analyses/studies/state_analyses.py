"""Every analysis of one model's states against one posterior, beside its controls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses import (
    CanonicalCorrelations,
    ContrastTables,
    ControlComparison,
    DecomposedStates,
    GoodnessOfFit,
    LayerCurve,
    canonical_correlations,
    compare_controls,
    contrast_tables,
    decoded_contrasts,
    decompose_states,
    goodness_of_fit,
    layer_curve,
)
from concept_ppl.errors import InputError
from concept_ppl.posterior_tables import concept_columns, log_odds, probabilities

Array = NDArray[np.float64]
LOG_ODDS = "log_odds"
POSTERIOR = "posterior"
RANDOM_WEIGHTS = "random weights"
MAP_ONE_HOT = "MAP one-hot"


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
    controls : ControlComparison or None
        At the headline site, for the log-odds; None where no control was given.
    map_one_hot : GoodnessOfFit
        What the most probable values alone tell of the log-odds.
    tables : ContrastTables
    contrasts : tuple of str
    true, decoded : array, shape (n_contexts, n_contrasts)
        Log-odds in nats, and as decoded from held-out states.
    """

    headline: str
    curve: LayerCurve
    random_curve: LayerCurve | None
    fits: Mapping[str, GoodnessOfFit]
    correlations: Mapping[str, CanonicalCorrelations]
    controls: ControlComparison | None
    map_one_hot: GoodnessOfFit
    tables: ContrastTables
    contrasts: tuple[str, ...]
    true: Array
    decoded: Array

    def tidy(self) -> pd.DataFrame:
        """Return every number, one row each."""
        frames = [self.curve.tidy()]
        if self.random_curve is not None:
            frames.append(self.random_curve.tidy().assign(control=RANDOM_WEIGHTS))
        frames += [fit.tidy() for fit in self.fits.values()]
        frames += [fit.tidy() for fit in self.correlations.values()]
        frames.append(self.map_one_hot.tidy().assign(control=MAP_ONE_HOT))
        if self.controls is not None:
            frames.append(self.controls.tidy())
        frames.append(self.tables.tidy())
        return pd.concat(frames, ignore_index=True)


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
    progress: Callable[[int, int], None] | None = None,
) -> StateAnalyses:
    """Run every analysis.

    Parameters
    ----------
    states
        The model's states by site, each (n_contexts, width), in the order of depth.
    posterior
        A posterior table (see :mod:`concept_ppl.posterior_tables`), one row for each context.
    design
        Clusters, folds, seed, level.
    headline
        The site whose state is the headline, named before looking at the data.
    controls
        Arrays (n_contexts, d) that a model must beat.
    random_states
        States of the same architecture with random weights at the same sites.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    InputError
        If rows do not match, a log-odds is infinite, or a state is not finite.
    """
    odds = _finite_log_odds(posterior)
    probability = probabilities(posterior)
    names, Z = tuple(odds.columns), odds.to_numpy(np.float64)
    P = probability.to_numpy(np.float64)
    random_states = random_states or {}
    total = len(states) + len(random_states) + len(controls) + 1
    done = 0

    def decomposed(array: NDArray[np.float32]) -> DecomposedStates:
        nonlocal done
        if len(array) != len(Z):
            raise InputError(f"{len(array):,} states do not match {len(Z):,} posterior rows.")
        result = decompose_states(
            array.astype(np.float64),
            clusters=design.clusters,
            n_folds=design.n_folds,
            seed=design.seed,
        )
        done += 1
        if progress is not None:
            progress(done, total)
        return result

    def curve_of(arrays: Mapping[str, NDArray[np.float32]]) -> tuple[LayerCurve, DecomposedStates]:
        """One decomposition at a time: they are many times as large as the states."""
        fits, kept = [], None
        for site, array in arrays.items():
            if (array == array[0]).all():
                continue  # one state for all contexts tells nothing: a closing token's embedding
            one = decomposed(array)
            fits.append(layer_curve({site: one}, Z, names=names, level=design.level).fits[0])
            kept = one if site == headline or kept is None else kept
        assert kept is not None
        return LayerCurve(tuple(fits), LOG_ODDS), kept

    if headline not in states:
        raise InputError(f"no states at site '{headline}'; there are: {', '.join(states)}.")
    curve, F = curve_of(states)
    random_curve, random_headline = curve_of(random_states) if random_states else (None, None)
    rivals = {name: decomposed(array) for name, array in controls.items()}
    if random_headline is not None:
        rivals[RANDOM_WEIGHTS] = random_headline
    shared = {"names": names, "layer": headline, "level": design.level}
    comparison = (
        compare_controls(F, Z, rivals, layer=headline, level=design.level, seed=design.seed)
        if rivals
        else None
    )
    one_hot = decomposed(map_one_hot(posterior).astype(np.float32))
    return StateAnalyses(
        headline=headline,
        curve=curve,
        random_curve=random_curve,
        fits={
            LOG_ODDS: goodness_of_fit(F, Z, target=LOG_ODDS, **shared),
            POSTERIOR: goodness_of_fit(F, P, target=POSTERIOR, **shared),
        },
        correlations={
            LOG_ODDS: canonical_correlations(F, Z, target=LOG_ODDS, **shared),
            POSTERIOR: canonical_correlations(F, P, target=POSTERIOR, **shared),
        },
        controls=comparison,
        map_one_hot=goodness_of_fit(one_hot, Z, target=LOG_ODDS, **shared),
        tables=contrast_tables(F, Z, target=LOG_ODDS, **shared),
        contrasts=names,
        true=Z,
        decoded=decoded_contrasts(F, Z),
    )


def _finite_log_odds(posterior: pd.DataFrame) -> pd.DataFrame:
    odds = log_odds(posterior)
    infinite = ~np.isfinite(odds.to_numpy(np.float64))
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise InputError(
            f"posterior row {row}: the log-odds {odds.columns[column]} are infinite; a value is "
            f"impossible there, so leave such rows out or give the model no zeros."
        )
    return odds


def map_one_hot(posterior: pd.DataFrame) -> Array:
    """Return an indicator of each concept's most probable value, all but the first, per row."""
    blocks = []
    for columns in concept_columns(posterior).values():
        table = posterior[columns].to_numpy(np.float64)
        blocks.append(np.eye(len(columns))[table.argmax(1)][:, 1:])
    return np.hstack(blocks)


def cluster_by_row(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of each row's distinct row: equal contexts have equal states."""
    as_bytes = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.strides[0]))).reshape(-1)
    return np.asarray(np.unique(as_bytes, return_inverse=True)[1], np.int64)
