"""One feature a contrast: the matching that correlates best, held out, beside its null.

Identifiability up to permutation and scale is what theories of unmixing promise, and the mean
correlation coefficient of the best one-to-one matching is how the field measures it (Hyvärinen and
Morioka 2016, https://arxiv.org/abs/1605.06336). In sample it is biased upwards by the choice among
many features; here features are matched on training folds and correlated on the others, and the
null is that of the same procedure on shuffled contrasts.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from concept_ppl.analyses.agreement.controls import shuffled
from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.intervals import (
    degrees_of_freedom,
    on_scale,
    standard_error,
    without_error,
)
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .feature_arrays import FeatureArray, Features, feature_moments
from .questions import ask_of, standardised

FEWEST_SHUFFLES = 19


@dataclass(frozen=True, slots=True)
class FeatureMatching(Result):
    """Held-out correlation of matched features with the contrasts.

    Attributes
    ----------
    mean
        Mean correlation over contrasts, held out; p-value of the shuffled null, one-sided.
    contrasts
        Of each contrast; no p-value.
    null
        .95 quantile of the mean under shuffled contrasts.
    n_shuffles
        How many shuffles the null has.
    features
        For each contrast the feature that most folds matched to it.
    names, extractor, layer
        Of the contrasts; labels that the caller gave.
    """

    mean: Estimate
    contrasts: tuple[Estimate, ...]
    null: float
    n_shuffles: int
    features: tuple[int, ...]
    names: tuple[str, ...]
    extractor: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Features{' of ' + self.extractor if self.extractor else ''} matched one to one"

    def rows(self) -> Iterator[Row]:
        """Yield the mean, then each contrast."""
        for name, value in self._entries():
            yield Row("matching", "correlation", name, value, self.layer, self.extractor)

    def lines(self) -> list[str]:
        """List the mean beside its null, and each contrast."""
        lines = [f"  {name}  {value}" for name, value in self._entries()]
        return [*lines, f"  95% of means on shuffled contrasts lie below {self.null:.3f}"]

    def panel(self) -> Panel:
        """Forest plot of the correlations."""
        return forest(list(self._entries()), "correlation with the matched feature", self.null)

    def _entries(self) -> Iterator[tuple[str, Estimate]]:
        yield "mean", self.mean
        yield from zip(self.names, self.contrasts, strict=True)


def match_features(
    features: Features,
    log_p: Mapping[str, npt.ArrayLike],
    *,
    groups: Sequence[int] | None = None,
    n_shuffles: int = 99,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    extractor: str = "",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> FeatureMatching:
    """Match features to the contrasts of exact log-posteriors, one to one, inside training folds.

    Parameters
    ----------
    features
        (n, m), at least as many as contrasts.
    log_p
        For each concept (n, K) exact log-probabilities, nats.
    groups
        (m,) the group of each feature, where an extractor has groups that stand for concepts and
        features for their values: whole groups are then matched to concepts, and inside them
        features to log p of the values, both less their mean over the group (centred log-ratios).
    n_shuffles
        Behind the null; at least 19.
    weights, clusters, extractor, layer, n_folds, seed, level
        As `judge_features`.

    Raises
    ------
    InputError
        If there are fewer features than contrasts (with groups: fewer groups than concepts, or
        smaller ones); and as `judge_features`.
    """
    if n_shuffles < FEWEST_SHUFFLES:
        raise InputError(f"n_shuffles is {n_shuffles}; give {FEWEST_SHUFFLES} or more.")
    question = ask_of(
        features,
        log_p,
        weights=weights,
        clusters=clusters,
        n_folds=n_folds,
        seed=seed,
        level=level,
    )
    array, concepts, design = question.features, question.concepts, question.design
    if groups is None:
        codes, sizes = None, [table.shape[1] - 1 for table in concepts]
        Z, names = question.log_odds, question.contrast_names
    else:
        sizes = [table.shape[1] for table in concepts]
        codes = _groups(groups, array, sizes)
        array = _centred_in_groups(array, codes)
        centred = [table - table.mean(axis=1, keepdims=True) for table in concepts]
        Z, names = standardised(np.hstack(centred), design), question.value_names
    if array.shape[1] < sum(sizes):
        raise InputError(
            f"features has {array.shape[1]} columns for {sum(sizes)} contrasts; one to one needs "
            "at least as many."
        )
    matched = _matched(array, Z, design, sizes, codes)
    x, z = _held_out_scores(array, Z, design, matched)
    null = []
    for i in range(n_shuffles):
        S = shuffled(Z, design.clusters, seed + 1 + i)
        scores = _held_out_scores(array, S, design, _matched(array, S, design, sizes, codes))
        null.append(_mean_correlation(*scores, design))
    mean = _correlation(x, z, design, level)
    above = sum(value >= mean.estimate for value in null)
    return FeatureMatching(
        replace(mean, p_value=(1 + above) / (1 + n_shuffles)),
        tuple(_correlation(x[:, [j]], z[:, [j]], design, level) for j in range(Z.shape[1])),
        float(np.quantile(null, 0.95)),
        n_shuffles,
        tuple(int(np.bincount(own).argmax()) for own in np.array(matched).T),
        names,
        extractor,
        layer,
    )


def _groups(groups: Sequence[int], features: FeatureArray, sizes: Sequence[int]) -> IntArray:
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(codes) != features.shape[1]:
        raise InputError(
            f"groups names {len(codes)} features, {features.name} has {features.shape[1]}."
        )
    members = np.sort(np.bincount(codes))[::-1][: len(sizes)]
    if len(members) < len(sizes) or (members < np.sort(sizes)[::-1]).any():
        raise InputError(
            f"{len(sizes)} concepts of up to {max(sizes)} values need as many groups that are as "
            f"large; the groups have {', '.join(map(str, np.bincount(codes)[:8]))} features."
        )
    return np.asarray(codes)


def _centred_in_groups(features: FeatureArray, codes: IntArray) -> FeatureArray:
    """Take from each feature the mean of its group."""
    values = features.columns(slice(None))
    member = np.eye(codes.max() + 1)[codes]
    return FeatureArray(values - values @ (member / member.sum(axis=0)) @ member.T, features.name)


def _matched(
    features: FeatureArray,
    Z: FloatArray,
    design: Design,
    sizes: Sequence[int],
    codes: IntArray | None,
) -> list[IntArray]:
    """For each fold the feature (q,) that its training rows match to each contrast.

    A feature is known up to its sign; in groups it stands for log p, whose sign is a claim.
    """
    moments = feature_moments(features, Z, design)
    folds, matched = np.arange(design.n_folds), []
    for k in folds:
        strength = moments.correlations(folds != k)
        matched.append(assign(np.abs(strength) if codes is None else strength, sizes, codes))
    return matched


def assign(strength: FloatArray, sizes: Sequence[int], codes: IntArray | None) -> IntArray:
    """Give each contrast a feature of its own so that the sum of strengths is largest.

    Kuhn's (1955) Hungarian method. With groups it runs twice: inside every pair of group and
    concept, and on what the pairs reach.

    Parameters
    ----------
    strength
        (m, q) of each feature for each contrast.
    sizes
        Contrasts of each concept, adding up to q.
    codes
        (m,) group of each feature, or None.
    """
    if codes is None:
        rows, columns = linear_sum_assignment(strength, maximize=True)
        return np.asarray(rows[np.argsort(columns)])
    starts = np.cumsum([0, *sizes])
    parts = [slice(a, b) for a, b in pairwise(starts)]
    members = [np.flatnonzero(codes == g) for g in range(codes.max() + 1)]
    reached = np.full((len(members), len(parts)), -float(len(strength)))
    inside: dict[tuple[int, int], IntArray] = {}
    for g, own in enumerate(members):
        for c, part in enumerate(parts):
            if len(own) >= part.stop - part.start:
                inside[g, c] = own[assign(strength[own, part], (), None)]
                reached[g, c] = strength[inside[g, c], np.arange(part.start, part.stop)].sum()
    chosen = np.empty(strength.shape[1], dtype=np.int64)
    rows, columns = linear_sum_assignment(reached, maximize=True)
    for g, c in zip(rows.tolist(), columns.tolist(), strict=True):
        chosen[parts[c]] = inside[g, c]
    return chosen


def _held_out_scores(
    features: FeatureArray, Z: FloatArray, design: Design, matched: Sequence[IntArray]
) -> tuple[FloatArray, FloatArray]:
    """Feature and contrast of each row (n, q), of mean square 1 in each test fold.

    About the means of the training rows, the feature turned so that it goes with the contrast
    there: a product of the two is a term of the held-out correlation.
    """
    x_all, z_all = np.zeros_like(Z), np.zeros_like(Z)
    for k, numbers in enumerate(matched):
        test = design.folds == k
        mass = design.weights[~test]
        x, z = (_scores(values, ~test, mass) for values in (features.columns(numbers), Z))
        sign = np.sign((mass[:, None] * x[~test] * z[~test]).sum(axis=0))
        for own, place in ((sign * x, x_all), (z, z_all)):
            square = _mean_square(own, test, design)
            place[test] = own[test] / np.sqrt(np.where(square > 0, square, np.inf))
    return x_all, z_all


def _mean_correlation(x: FloatArray, z: FloatArray, design: Design) -> float:
    return float(np.average((x * z).mean(axis=1), weights=design.weights))


def _correlation(x: FloatArray, z: FloatArray, design: Design, level: float) -> Estimate:
    """Mean over columns of the correlation of scores, its interval on Fisher's z; no p-value.

    The influence of a row on a correlation r is x z − r (x² + z²) / 2.
    """
    r = np.average(x * z, axis=0, weights=design.weights)
    value = float(r.mean())
    influence = (x * z - r * (np.square(x) + np.square(z)) / 2.0).mean(axis=1)
    sums = design.cluster_sums(influence) / design.n
    if not sums.any() or abs(value) >= 1.0:
        return without_error(value, design, level, p_value=math.nan)
    slope = 1.0 - value**2
    return on_scale(
        math.atanh(value),
        standard_error(sums) / slope,
        degrees_of_freedom(sums),
        design,
        level,
        scale=math.tanh,
        slope=slope,
        p_value=math.nan,
    )


def _scores(values: FloatArray, train: npt.NDArray[np.bool_], mass: FloatArray) -> FloatArray:
    mean = np.average(values[train], axis=0, weights=mass)
    spread = np.sqrt(np.average(np.square(values[train] - mean), axis=0, weights=mass))
    return np.asarray((values - mean) / np.where(spread > 0, spread, np.inf))


def _mean_square(scores: FloatArray, rows: npt.NDArray[np.bool_], design: Design) -> FloatArray:
    return np.asarray(np.average(np.square(scores[rows]), axis=0, weights=design.weights[rows]))
