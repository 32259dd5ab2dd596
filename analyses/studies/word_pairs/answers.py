"""Everything that the counterfactual study asks of one model's word states, in one pass."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.pairs.counterfactual_matrices import (
    CounterfactualMatrix,
    counterfactual_matrix,
)
from concept_ppl.analyses.pairs.designs import PairDesign, lexeme_components, make_pair_design
from concept_ppl.analyses.pairs.differences import DiagonalDifference, diagonal_difference
from concept_ppl.analyses.pairs.joint_inverses import JointInverse, joint_inverse
from concept_ppl.analyses.pairs.offset_spans import OffsetSpan, offset_span
from concept_ppl.analyses.pairs.published_procedures import PublishedProcedure, published_procedure
from concept_ppl.analyses.pairs.weights import ESTIMATORS
from concept_ppl.analyses.results.multiplicity import benjamini_hochberg, holm
from concept_ppl.analyses.studies.stages.announcements import Counter, Progress
from concept_ppl.contexts.counterfactual_pairs import PairLists
from concept_ppl.result_columns import RESULT_COLUMNS

from .multiverse import Multiverse, ask_multiverse, best_control, n_matrices
from .plan import (
    BAG_OF_TOKENS,
    CONTROLS,
    COUNT,
    HEADLINE,
    HEADLINE_SITE,
    LOGISTIC_SPLITS,
    MODEL,
    RANDOM,
    SITES_OF,
    TABLE,
    UNEMBEDDING,
)
from .states import BAG, ModelWords

MOST_TOKENS = 8


@dataclass(frozen=True)
class Settings:
    """Numbers that the user may choose; see `CounterfactualStudy`."""

    n_splits: int
    n_flips: int
    seed: int
    level: float


@dataclass(frozen=True, eq=False)
class PairAnswers:
    """Answers on one model.

    Attributes
    ----------
    matrices
        By control (``""`` is the model) and estimator, at the headline site.
    curve, random_curve
        By site, the headline estimator on the model and on random weights.
    unembedding
        Weights made of unembedding rows, pairs of one-token words; None where too few are left.
    published
        The published procedure and its nulls.
    span
        Which offsets are independent.
    inverses
        By control, the joint inverse; empty where fewer than two concepts are independent.
    matched
        Pairs with as many tokens in both words: their matrix; None where too few are left.
    differences
        By control, headline estimator at the headline site, model minus control.
    layer_differences
        By site and control, the same along the layers.
    multiverse
        The same under every estimator, at every site, from every control.
    """

    matrices: Mapping[tuple[str, str], CounterfactualMatrix]
    curve: Mapping[str, CounterfactualMatrix]
    random_curve: Mapping[str, CounterfactualMatrix]
    unembedding: CounterfactualMatrix | None
    published: PublishedProcedure
    span: OffsetSpan
    inverses: Mapping[tuple[str, str], JointInverse]
    matched: CounterfactualMatrix | None
    differences: Mapping[str, DiagonalDifference]
    layer_differences: Mapping[tuple[str, str], DiagonalDifference]
    multiverse: Multiverse

    @property
    def headline(self) -> CounterfactualMatrix:
        """The matrix that the verdict speaks of."""
        return self.matrices[MODEL, HEADLINE]

    @property
    def best_control(self) -> str:
        """The control with the largest mean cosine: the choice can only hurt the model."""
        return best_control(self.matrices)

    def tidy(self) -> pd.DataFrame:
        """All answers, tidy; entries off the diagonal of what the verdict speaks of alone."""
        frames = [self.headline.tidy()]
        frames += [m.tidy_diagonal() for m in self.matrices.values() if m is not self.headline]
        frames += [m.tidy_diagonal() for m in (self.unembedding, self.matched) if m is not None]
        frames += [self.curve_table(), self.published.tidy(), self.span.tidy()]
        for (control, site), inverse in self.inverses.items():
            table = inverse.tidy()
            is_headline = (control, site) == (MODEL, HEADLINE_SITE)
            frames.append(table if is_headline else table[table["quantity"] != "entry"])
        frames += [difference.tidy() for difference in self.differences.values()]
        frames += [self.layer_difference_table(), self.multiverse.tidy()]
        return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)[
            list(RESULT_COLUMNS)
        ]

    def curve_table(self) -> pd.DataFrame:
        """Means by site, the p-values of each quantity adjusted along the layers."""
        frames = []
        for matrices in (self.curve, self.random_curve):
            rows = pd.concat([m.tidy_means() for m in matrices.values()], ignore_index=True)
            rows = rows[rows["quantity"].isin(["mean_diagonal", "mean_order"])]
            adjusted = benjamini_hochberg(rows.reset_index(drop=True))
            frames.append(adjusted.assign(analysis="counterfactual_layers"))
        return pd.concat(frames, ignore_index=True)

    def layer_difference_table(self) -> pd.DataFrame:
        """Mean differences from each control by site, adjusted by Holm over the sites."""
        rows = [d.tidy_means() for d in self.layer_differences.values()]
        table = pd.concat(rows, ignore_index=True)
        table = table[table["quantity"] == "mean_diagonal"].reset_index(drop=True)
        table = table.assign(analysis="difference_by_layer")
        return holm(table, family=("analysis", "control"))


def design_of(pairs: PairLists, settings: Settings) -> PairDesign:
    """Make the design of these pairs."""
    return make_pair_design(
        pairs.first,
        pairs.second,
        pairs.concept,
        names=pairs.concepts,
        n_splits=settings.n_splits,
        seed=settings.seed,
    )


def analyse_pairs(
    states: ModelWords, pairs: PairLists, settings: Settings, progress: Progress
) -> PairAnswers:
    """Ask every question of one model's states.

    Parameters
    ----------
    states
        Of the words of ``pairs``, in their order.
    pairs
        Those that can be held out.
    settings
        Splits, flips, seed, level.
    progress
        Called as matrices are done.
    """
    design = design_of(pairs, settings)
    options: dict[str, Any] = {
        "n_flips": settings.n_flips,
        "seed": settings.seed,
        "level": settings.level,
    }
    sets = _state_sets(states)
    n_steps = len(sets) * len(ESTIMATORS) + 2 * len(states.sites) + 1 + n_matrices(states)
    done = Counter(n_steps, progress).step
    matrices: dict[tuple[str, str], CounterfactualMatrix] = {}
    for name, F in sets.items():
        for estimator in ESTIMATORS:
            own = design.first_splits(LOGISTIC_SPLITS) if estimator == "logistic" else design
            matrices[name, estimator] = counterfactual_matrix(
                F, own, estimator=estimator, layer=SITES_OF[name], control=name, **options
            )
            done()
    known = {
        (MODEL, HEADLINE_SITE): matrices[MODEL, HEADLINE],
        (RANDOM, HEADLINE_SITE): matrices[RANDOM, HEADLINE],
        (MODEL, "embedding"): replace(matrices[TABLE, HEADLINE], control=MODEL),
    }

    def curve(control: str, by_site: Mapping[str, NDArray[Any]]) -> dict[str, CounterfactualMatrix]:
        found = {}
        for site in states.sites:
            if (control, site) in known:
                found[site] = known[control, site]
                continue
            found[site] = counterfactual_matrix(
                by_site[site], design, estimator=HEADLINE, layer=site, control=control, **options
            )
            done()
        return found

    trained_curve = curve(MODEL, states.trained)
    random_curve = curve(RANDOM, states.untrained)
    headline = matrices[MODEL, HEADLINE]
    adjusted = headline.tidy_diagonal()
    diagonal = adjusted[adjusted["quantity"] == "cosine_diagonal"]["p_value"].to_numpy()
    span = offset_span(
        sets[MODEL], design, present=diagonal <= 1.0 - settings.level, layer=HEADLINE_SITE
    )
    done()
    inverses = _inverses(states, sets, span, design, trained_curve, settings.level)
    done()
    made = {(name, e, SITES_OF[name]): matrix for (name, e), matrix in matrices.items()}
    for control, along in ((MODEL, trained_curve), (RANDOM, random_curve)):
        made |= {(control, HEADLINE, site): matrix for site, matrix in along.items()}
    answers = PairAnswers(
        matrices=matrices,
        curve=trained_curve,
        random_curve=random_curve,
        unembedding=_by_unembedding(states, pairs, settings, options),
        published=published_procedure(
            sets[MODEL],
            design,
            others={RANDOM: sets[RANDOM]},
            layer=HEADLINE_SITE,
            seed=settings.seed,
        ),
        span=span,
        inverses=inverses,
        matched=_token_matched(states, pairs, settings, options),
        differences={
            name: diagonal_difference(
                headline,
                matrices[name, HEADLINE],
                first="model",
                second=name,
                layer=HEADLINE_SITE,
            )
            for name in CONTROLS
        },
        layer_differences=dict(_along_layers(trained_curve, random_curve, matrices)),
        multiverse=ask_multiverse(states, design, made, settings.seed, settings.level, done),
    )
    done()
    done()
    return answers


def _state_sets(states: ModelWords) -> dict[str, NDArray[Any]]:
    """Return the model's states at the headline site, and what stands in their place."""
    counts = np.minimum(states.n_tokens, MOST_TOKENS)
    return {
        MODEL: states.trained[HEADLINE_SITE],
        TABLE: states.trained["embedding"],
        BAG_OF_TOKENS: states.trained[BAG],
        RANDOM: states.untrained[HEADLINE_SITE],
        COUNT: np.eye(MOST_TOKENS + 1)[counts],
    }


def _inverses(
    states: ModelWords,
    sets: Mapping[str, NDArray[Any]],
    span: OffsetSpan,
    design: PairDesign,
    curve: Mapping[str, CounterfactualMatrix],
    level: float,
) -> dict[tuple[str, str], JointInverse]:
    """Joint inverses over one set of concepts: the model's sites, and each wide control."""
    if span.rank < 2:
        return {}
    found = {}
    for site in curve:
        found[MODEL, site] = joint_inverse(
            states.trained[site], design, span.independent, layer=site, level=level
        )
    for name in (BAG_OF_TOKENS, RANDOM):
        site = SITES_OF[name]
        found[name, site] = joint_inverse(
            sets[name],
            design,
            span.independent,
            layer=site,
            control=name,
            level=level,
        )
    return found


def _by_unembedding(
    states: ModelWords, pairs: PairLists, settings: Settings, options: dict[str, Any]
) -> CounterfactualMatrix | None:
    """Weights from unembedding rows, differences of states, in the causal metric and its dual."""
    single = np.asarray(np.isfinite(states.unembedding).all(axis=1), dtype=np.bool_)
    chosen = _held_out_able(pairs, single[pairs.first] & single[pairs.second])
    if chosen is None:
        return None
    kept, rows = chosen
    return counterfactual_matrix(
        states.trained[HEADLINE_SITE][rows].astype(np.float64) @ states.causal,
        design_of(kept, settings),
        estimator="mean difference",
        F_weights=states.unembedding[rows],
        label=UNEMBEDDING,
        layer=HEADLINE_SITE,
        **options,
    )


def _token_matched(
    states: ModelWords, pairs: PairLists, settings: Settings, options: dict[str, Any]
) -> CounterfactualMatrix | None:
    """Ask the headline among pairs whose words have as many tokens each."""
    count = states.n_tokens
    chosen = _held_out_able(pairs, count[pairs.first] == count[pairs.second])
    if chosen is None:
        return None
    kept, rows = chosen
    return counterfactual_matrix(
        states.trained[HEADLINE_SITE][rows],
        design_of(kept, settings),
        estimator=HEADLINE,
        label=f"{HEADLINE} token matched",
        layer=HEADLINE_SITE,
        **options,
    )


def _held_out_able(
    pairs: PairLists, chosen: NDArray[np.bool_]
) -> tuple[PairLists, NDArray[np.int64]] | None:
    """Keep the chosen pairs of concepts that still have two units, and the rows of their words."""
    if not chosen.any():
        return None
    component = np.full(len(pairs), -1, dtype=np.int64)
    component[chosen] = lexeme_components(pairs.first[chosen], pairs.second[chosen])
    units = np.array(
        [
            len(np.unique(component[chosen & (pairs.concept == code)]))
            for code in range(len(pairs.concepts))
        ],
        dtype=np.int64,
    )
    chosen = np.asarray(chosen & (units[pairs.concept] >= 2))
    if not chosen.any():
        return None
    rows = np.unique(np.concatenate([pairs.first[chosen], pairs.second[chosen]]))
    return pairs.take(chosen), rows


def _along_layers(
    curve: Mapping[str, CounterfactualMatrix],
    random_curve: Mapping[str, CounterfactualMatrix],
    matrices: Mapping[tuple[str, str], CounterfactualMatrix],
) -> Iterator[tuple[tuple[str, str], DiagonalDifference]]:
    for site, matrix in curve.items():
        if site == "embedding":
            continue
        rivals = {
            TABLE: matrices[TABLE, HEADLINE],
            BAG_OF_TOKENS: matrices[BAG_OF_TOKENS, HEADLINE],
            RANDOM: random_curve[site],
        }
        for name, rival in rivals.items():
            yield (
                (site, name),
                diagonal_difference(matrix, rival, first="model", second=name, layer=site),
            )
