"""Does a feature carry the log-posterior, its posterior or its label, and how much of the bound?

An extractor (a sparse autoencoder, ConCA, the states' own coordinates) turns states into features.
Where the exact log-posterior is known, each is held against it: the best single feature and the
best few, chosen and fitted in training folds and scored on the others, beside the best that any
linear map of the states reads. The same is asked of the posterior and of the most probable value,
because a feature that detects a label need not carry a log-posterior.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.claim.posterior_forms import posterior_form
from concept_ppl.analyses.claim.power_path import contrasts
from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.decomposition import States, on_same_design
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.held_out import SquaredErrors, squared_errors
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.analyses.worlds.world_powers import most_probable
from concept_ppl.errors import InputError

from .bound_shares import bound_share
from .chosen_features import Choice, choose, chosen_errors
from .feature_arrays import FeatureArray, FeatureMoments, Features, feature_moments
from .questions import ask_of, standardised

LOG_ODDS, POSTERIOR, LABEL = "log_odds", "posterior", "most_probable"
AT_ONCE = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class ContrastJudgement:
    """What features say of one contrast.

    Attributes
    ----------
    name
        Of the contrast: ``concept: value / reference``.
    best
        Held-out R² of the log-odds given the best single feature; p-value one-sided, of R² ≤ 0.
    of_posterior, of_label
        The same of the posterior and of the indicator of the most probable value, each with the
        feature that is best for it. None where the value is never the most probable.
    several
        By number of features, R² given the best so many.
    bound
        R² given all states by the ridge map: the supervised bound. None without states.
    share, share_of_several
        Share of the bound that the best feature, or the best few, reach.
    alpha
        Power of the posterior that the chosen feature follows, 0 for the logarithm and 1 for the
        posterior, on contexts that did not choose it; None where no form has an answer.
    feature
        The number of the feature that most folds chose.
    """

    name: str
    best: Estimate
    of_posterior: Estimate
    of_label: Estimate | None
    several: Mapping[int, Estimate]
    bound: Estimate | None
    share: Estimate | None
    share_of_several: Mapping[int, Estimate]
    alpha: Estimate | None
    feature: int

    def entries(self) -> Iterator[tuple[str, Estimate]]:
        """Yield every number by its name."""
        yield "r2_best_feature", self.best
        yield "r2_best_feature_posterior", self.of_posterior
        if self.of_label is not None:
            yield "r2_best_feature_label", self.of_label
        for k, value in self.several.items():
            yield f"r2_best_{k}", value
        if self.bound is not None and self.share is not None:
            yield "r2_bound", self.bound
            yield "share_best_feature", self.share
            for k, value in self.share_of_several.items():
                yield f"share_best_{k}", value
        if self.alpha is not None:
            yield "alpha", self.alpha


@dataclass(frozen=True, slots=True)
class FeatureJudgement(Result):
    """Features beside the exact log-posterior, contrast by contrast and over all of them.

    Attributes
    ----------
    contrasts
        One a contrast.
    best, bound, share
        Of all contrasts together, each of spread 1: R² given a best feature for each, R² given the
        states, and the share reached.
    n_features, n_constant
        How many there are, and how many of them do not vary over the contexts.
    extractor, layer
        Labels that the caller gave.
    """

    contrasts: tuple[ContrastJudgement, ...]
    best: Estimate
    bound: Estimate | None
    share: Estimate | None
    n_features: int
    n_constant: int
    extractor: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Features{' of ' + self.extractor if self.extractor else ''} and the log-posterior"

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the tidy table."""

        def row(quantity: str, term: str, value: Estimate) -> Row:
            return Row("features", quantity, term, value, self.layer, self.extractor)

        yield row("r2_best_feature", "all", self.best)
        if self.bound is not None and self.share is not None:
            yield row("r2_bound", "all", self.bound)
            yield row("share_best_feature", "all", self.share)
        for one in self.contrasts:
            for quantity, value in one.entries():
                yield row(quantity, one.name, value)

    def lines(self) -> list[str]:
        """List the best feature of each contrast, a line each."""
        lines = [f"  all contrasts  {self.best}"]
        if self.share is not None:
            lines.append(f"  share of what the states tell  {self.share}")
        return lines + [
            f"  {one.name}  feature {one.feature}  {one.best}" for one in self.contrasts
        ]

    def panel(self) -> Panel:
        """Forest plot of the best feature of each contrast."""
        entries = [("all contrasts", self.best), *((one.name, one.best) for one in self.contrasts)]
        return forest(entries, "held-out R² given the best single feature")


def judge_features(
    features: Features,
    log_p: Mapping[str, npt.ArrayLike],
    F: States | None = None,
    *,
    at_once: Sequence[int] = AT_ONCE,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    extractor: str = "",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> FeatureJudgement:
    """Hold features against exact log-posteriors; see the module.

    Nothing is the best of what it was chosen on: choice, map and penalty are of the training folds,
    and the score is that of the fold that saw none of them, however many features there are.

    Parameters
    ----------
    features
        (n, m), dense, memory-mapped or sparse.
    log_p
        For each concept (n, K) exact log-probabilities of its values, nats, finite.
    F
        (n, d) the states that the features were made of, or the result of `decompose_states` with
        the same weights, clusters, folds and seed; the bound needs them.
    at_once
        Numbers of features that are fitted together.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    extractor, layer
        Labels for the tidy table.
    n_folds, seed, level
        Folds, cluster-disjoint, drawn from the seed; confidence level.

    Raises
    ------
    InputError
        If arrays do not match, are not finite, no feature varies, or contrasts are collinear.
    """
    if not at_once or min(at_once) < 1:
        raise InputError(f"at_once is {tuple(at_once)}; give numbers of features from 1.")
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
    Z = question.log_odds
    others = _other_targets(concepts, design)
    every = [Z, *(values for _, values in others.values())]
    whole = feature_moments(array, np.hstack(every), design)  # one pass over all features
    ends = np.cumsum([0, *(values.shape[1] for values in every)])
    moments, *beside = (whole.of(slice(a, b)) for a, b in pairwise(ends))
    constant = int((~moments.varies()).sum())
    if constant == array.shape[1]:
        raise InputError(f"None of the {constant:,} features varies over the contexts.")
    bound = None
    if F is not None:
        bound = squared_errors(cross_fit(on_same_design(F, design, "F"), Z))
    choices = choose(array, moments, Z, design, max(at_once))
    errors = {
        k: chosen_errors(array, [c.first(k) for c in choices], Z, design) for k in {1, *at_once}
    }
    told = {
        target: _told(array, kept, values, own, design, level)
        for (target, (kept, values)), own in zip(others.items(), beside, strict=True)
    }
    alphas = _alphas(array, moments, concepts, design, seed, level)
    judged = [
        _judge(j, name, errors, bound, told, choices[j], alphas[j], level)
        for j, name in enumerate(question.contrast_names)
    ]
    return FeatureJudgement(
        tuple(judged),
        explained_share(errors[1], level),
        None if bound is None else explained_share(bound, level),
        None if bound is None else bound_share(errors[1], bound, level),
        array.shape[1],
        constant,
        extractor,
        layer,
    )


def _other_targets(
    concepts: Sequence[FloatArray], design: Design
) -> dict[str, tuple[IntArray, FloatArray]]:
    """Posterior and label of each contrast: which vary in all training folds, and those (n, r)."""
    labels = np.hstack([most_probable(table) for table in concepts])
    found = {}
    for target, values in ((POSTERIOR, contrasts(concepts, 1.0)), (LABEL, labels)):
        varying = [np.ptp(values[design.folds != k], axis=0) > 0 for k in range(design.n_folds)]
        kept = np.flatnonzero(np.all(varying, axis=0))
        found[target] = kept, standardised(values[:, kept], design)
    return found


def _told(
    features: FeatureArray,
    kept: IntArray,
    values: FloatArray,
    moments: FeatureMoments,
    design: Design,
    level: float,
) -> dict[int, Estimate]:
    """R² of targets (n, r) given the feature that is best for each, by number of the contrast."""
    choices = choose(features, moments, values, design, 1)
    errors = chosen_errors(features, choices, values, design)
    return {int(j): explained_share(errors.column(i), level) for i, j in enumerate(kept)}


def _judge(
    j: int,
    name: str,
    errors: Mapping[int, SquaredErrors],
    bound: SquaredErrors | None,
    told: Mapping[str, Mapping[int, Estimate]],
    choice: Choice,
    alpha: Estimate | None,
    level: float,
) -> ContrastJudgement:
    own = {k: one.column(j) for k, one in errors.items()}
    several = {k: explained_share(one, level) for k, one in own.items() if k > 1}
    shares = {}
    if bound is not None:
        shares = {k: bound_share(one, bound.column(j), level) for k, one in own.items()}
    return ContrastJudgement(
        name,
        explained_share(own[1], level),
        told[POSTERIOR][j],  # it varies where the log-odds do
        told[LABEL].get(j),
        several,
        None if bound is None else explained_share(bound.column(j), level),
        shares.pop(1, None),
        shares,
        alpha,
        choice.most_frequent,
    )


def _alphas(
    features: FeatureArray,
    moments: FeatureMoments,
    concepts: Sequence[FloatArray],
    design: Design,
    seed: int,
    level: float,
) -> list[Estimate | None]:
    """Power of the posterior that a feature follows, chosen on some folds and asked on the rest."""
    choosing = np.arange(design.n_folds) < design.n_folds // 2
    best = np.abs(moments.correlations(choosing)).argmax(axis=0)
    rows = ~choosing[design.folds]
    pairs = [table[:, [0, j]] for table in concepts for j in range(1, table.shape[1])]
    found: list[Estimate | None] = []
    for pair, feature in zip(pairs, best, strict=True):
        log_p = (pair - np.logaddexp.reduce(pair, axis=1, keepdims=True))[rows]
        state = features.columns(np.array([feature]))[rows]
        try:
            form = posterior_form(
                state,
                log_p,
                weights=design.weights[rows],
                clusters=design.clusters[rows],
                seed=seed,
                level=level,
            )
        except InputError:  # a feature that is constant there, or powers that cannot be told apart
            found.append(None)
        else:
            found.append(form.alpha)
    return found
