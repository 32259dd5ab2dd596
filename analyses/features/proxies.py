"""Do the field's proxies rank extractors as the exact log-posterior does?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

FEWEST_EXTRACTORS = 4


@dataclass(frozen=True, slots=True)
class ProxyRanking(Result):
    """Kendall's τ of each proxy with the judgement.

    Attributes
    ----------
    proxies
        τ-b by proxy, the mean over worlds, with an interval over worlds; p-value of none.
    n_worlds, n_extractors
        How many worlds, and extractors in all of them.
    """

    proxies: Mapping[str, Estimate]
    n_worlds: int
    n_extractors: int

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Kendall's τ of proxies with the exact judgement"

    def rows(self) -> Iterator[Row]:
        """Yield one row a proxy."""
        for name, value in self.proxies.items():
            yield Row("proxies", "kendall_tau", name, value)

    def lines(self) -> list[str]:
        """List the proxies, a line each."""
        return [f"  {name}  {value}" for name, value in self.proxies.items()]

    def panel(self) -> Panel:
        """Forest plot of τ."""
        return forest(list(self.proxies.items()), "Kendall's τ with the exact judgement")


def rank_proxies(
    judged: npt.ArrayLike,
    proxies: Mapping[str, npt.ArrayLike],
    worlds: npt.ArrayLike,
    seeds: npt.ArrayLike | None = None,
    *,
    n_replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> ProxyRanking:
    """Ask how proxies order the extractors of each world, beside the exact judgement.

    τ is taken within a world, because worlds differ in how much can be found, and averaged. The
    interval resamples worlds, and inside each the seeds of its extractors (a hierarchical
    bootstrap): extractors that share a seed move together.

    Parameters
    ----------
    judged
        (n,) the exact judgement of each extractor.
    proxies
        By name (n,), larger meaning better.
    worlds, seeds
        (n,) the world and the seed of each; without seeds, worlds alone are resampled.
    n_replicates, seed, level
        Of the bootstrap.

    Raises
    ------
    InputError
        If lengths differ, values are not finite, or a world has fewer than four extractors.
    """
    check_level(level)
    truth = np.asarray(judged, np.float64)
    codes = np.unique(np.asarray(worlds), return_inverse=True)[1]
    drawn = np.zeros(len(truth), np.int64)
    if seeds is not None:
        drawn = np.unique(np.asarray(seeds), return_inverse=True)[1]
    arrays = {"judged": truth} | {k: np.asarray(v, np.float64) for k, v in proxies.items()}
    for name, values in arrays.items():
        if values.shape != codes.shape or not np.isfinite(values).all():
            raise InputError(f"{name} must hold a finite number for each of {len(codes)} rows.")
    members = [np.flatnonzero(codes == w) for w in range(codes.max() + 1)]
    if min(map(len, members)) < FEWEST_EXTRACTORS:
        raise InputError(f"A world has fewer than {FEWEST_EXTRACTORS} extractors to be ranked.")
    rng = np.random.default_rng(seed)
    draws = [_resampled(members, drawn, rng) for _ in range(n_replicates)]
    found = {}
    for name in proxies:
        values = arrays[name]
        estimate = _mean_tau(truth, values, members)
        replicates = np.array([_mean_tau(truth, values, own) for own in draws])
        low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
        tail = min((replicates <= 0).mean(), (replicates >= 0).mean())
        p_value = min(1.0, 2.0 * (float(tail) * n_replicates + 1) / (n_replicates + 1))
        found[name] = Estimate(
            estimate,
            float(replicates.std(ddof=1)),
            float(low),
            float(high),
            level,
            p_value,
            len(truth),
            len(members),
        )
    return ProxyRanking(found, len(members), len(truth))


def _resampled(
    members: list[npt.NDArray[np.int64]], seeds: npt.NDArray[np.int64], rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Draw worlds with replacement, and in each its seeds."""
    rows = []
    for w in rng.integers(len(members), size=len(members)):
        own = members[w]
        kinds = np.unique(seeds[own])
        if len(kinds) > 1:
            chosen = rng.choice(kinds, size=len(kinds))
            own = np.concatenate([own[seeds[own] == kind] for kind in chosen])
        rows.append(own)
    return rows


def _mean_tau(
    truth: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    members: list[npt.NDArray[np.int64]],
) -> float:
    from scipy import stats

    taus = [float(stats.kendalltau(truth[own], values[own]).statistic) for own in members]
    return float(np.mean(np.nan_to_num(taus)))
