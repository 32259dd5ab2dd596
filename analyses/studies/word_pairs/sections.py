"""Sections of a counterfactual report on one model: the matrix, its nulls, controls and limits."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from concept_ppl.analyses.pairs.counterfactual_matrices import CounterfactualMatrix, matrix_of
from concept_ppl.analyses.pairs.weights import ESTIMATORS
from concept_ppl.analyses.results.rows import Estimate
from concept_ppl.analyses.studies.stages.claim_sections import written
from concept_ppl.formatting import in_words
from concept_ppl.reports import (
    Section,
    Table,
    control_forest,
    heat_map,
    interval,
    layer_curve,
    p_value,
)

from .answers import PairAnswers
from .plan import (
    BAG_OF_TOKENS,
    CONTROLS,
    COUNT,
    HEADLINE,
    HEADLINE_SITE,
    MODEL,
    RANDOM,
    TABLE,
    UNEMBEDDING,
)
from .states import ModelWords

LARGEST_CONDITION = 1e6
"""Beyond it the smallest singular value is zero for all that can be told."""


def shown(concept: str) -> str:
    """Write the name of a list as a relation: ``verb - Ving`` as ``verb → Ving``."""
    return concept.replace(" - ", " → ")


def matrix_section(own: PairAnswers) -> Section:
    """Return the held-out matrix, and the diagonal concept by concept."""
    matrix = own.headline
    order = seriation(matrix_of(matrix.entries, "estimate"))
    names = [shown(matrix.names[k]) for k in order]
    values = matrix_of(matrix.entries, "estimate")[np.ix_(order, order)]
    hints = [[_hint(matrix, j, k) for k in order] for j in order]
    figure = heat_map(
        values,
        names,
        names,
        hints=hints,
        row_title="weights",
        column_title="pairs of",
        name="matrix",
        caption="Mean cosine of the weights of each concept (rows), fitted to half of the words, "
        "with the differences of pairs in the other half (columns). Blue: above zero; brown with a "
        "bar: below. Like concepts stand together.",
        description=f"Matrix of {len(names)} concepts; the diagonal has a mean of "
        f"{matrix.mean_diagonal.estimate:.2f}, the rest a mean magnitude of "
        f"{matrix.mean_off_diagonal:.2f}.",
    )
    return Section(
        "Weights and the differences of new pairs",
        f"If a concept were one direction, every pair would differ by the same vector and the "
        f"diagonal would be 1. It is {written(matrix.mean_diagonal)} on average over "
        f"{len(names)} concepts; entries off it have a mean magnitude of "
        f"{matrix.mean_off_diagonal:.3f}. Relations that share a part, such as the inflections of "
        f"verbs, are related by what they are, so a zero there is not to be expected.",
        [figure],
        [_concept_table(own)],
    )


def seriation(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order concepts so that those with large entries between them stand together."""
    if len(values) < 3:
        return np.arange(len(values))
    near = np.abs(np.nan_to_num(values))
    near = (near + near.T) / 2.0
    distance = 1.0 - near / max(float(near.max()), np.finfo(np.float64).tiny)
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(distance, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, method="average"), condensed)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def _hint(matrix: CounterfactualMatrix, j: int, k: int) -> str:
    value, null = matrix.entries[j][k], float(matrix.null[j, k])
    parts = [
        f"weights {shown(matrix.names[j])}, pairs {shown(matrix.names[k])}: "
        f"{in_words(value.estimate, value.ci_low, value.ci_high, value.ci_level)}"
    ]
    if not math.isnan(null):
        of = "entries" if j == k else "magnitudes"
        parts.append(f"95% of the {of} under flipped signs lie below {null:.3f}")
    return "; ".join(parts).replace("-", "−") + "."


def _concept_table(own: PairAnswers) -> Table:
    matrix, best = own.headline, own.best_control
    rows = matrix.tidy_diagonal()
    diagonal = rows[rows["quantity"] == "cosine_diagonal"].reset_index(drop=True)
    difference = own.differences[best].tidy()
    difference = difference[difference["quantity"] == "cosine_diagonal"].reset_index(drop=True)
    frame = pd.DataFrame(
        {
            "concept": [shown(name) for name in matrix.names],
            "estimate": diagonal["estimate"],
            "ci_low": diagonal["ci_low"],
            "ci_high": diagonal["ci_high"],
            "ci_level": diagonal["ci_level"],
            "p_value": diagonal["p_value"],
            "flips": np.diag(matrix.null),
            "order": [value.estimate for value in matrix.order],
            "units": diagonal["n_clusters"],
            "control": [v.estimate for v in own.matrices[best, HEADLINE].diagonal],
            "difference": difference["estimate"],
            "p_difference": [p_value(float(p)) for p in difference["p_value"]],
        }
    )
    return Table(
        "The diagonal, concept by concept",
        frame,
        headings={
            "estimate": "cosine",
            "flips": "95% of flips below",
            "order": "in order",
            "control": best,
            "difference": "minus it",
            "p_difference": "p of that",
        },
        note="Both p-values are adjusted by Holm over the concepts. In order: share of new pairs "
        "whose second word the weights put above the first.",
    )


def published_section(own: PairAnswers) -> Section:
    """Return the published number with its nulls, in one table."""
    frame = pd.DataFrame(
        [
            {
                "made from": name,
                "mean diagonal": product.mean,
                "smallest": product.smallest,
                "off the diagonal": product.off_diagonal,
            }
            for name, product in own.published.products.items()
        ]
    )
    return Section(
        "The published number, and what it shows",
        f"Mean difference times logistic weights, both at length 1, C = "
        f"{own.published.inverse_penalty:g}, on the words that made them. With so strong a penalty "
        f"the weights *are* the mean difference up to length, whatever the states: the diagonal "
        f"is the cosine of a vector with itself. The same words with first and second swapped at "
        f"random, with noise in place of states, or in a network that was never trained, give as "
        f"much. No interval is given, since there is nothing to be sure of.".replace("*", ""),
        tables=[Table("The published procedure at the same site, beside its nulls", frame)],
    )


def controls_section(own: PairAnswers) -> Section:
    """Return the model beside what needs no learning, for each estimator."""
    means = {name: own.matrices[name, HEADLINE].mean_diagonal for name in (MODEL, *CONTROLS)}
    levels = _rows("mean_diagonal", means)
    differences = pd.concat(
        [_rows(f"minus_{name}", {"": own.differences[name].mean}) for name in CONTROLS],
        ignore_index=True,
    )
    labels = {MODEL: f"model, {HEADLINE_SITE}"}
    labels |= {f"minus_{name}": f"model − {name}" for name in CONTROLS}
    figure = control_forest(
        levels,
        differences,
        labels=labels,
        levels_title="Mean cosine with new pairs",
        differences_title="Paired differences in mean cosine",
        caption=f"{HEADLINE.capitalize()} weights. Points: estimates; bars: intervals. Differences "
        "are of the same pairs and splits.",
    )
    frame = pd.DataFrame(
        [
            {"states": name or f"model, {HEADLINE_SITE}"}
            | {e: written(own.matrices[name, e].mean_diagonal) for e in ESTIMATORS}
            | {"in order": written(own.matrices[name, HEADLINE].mean_order)}
            for name in (MODEL, *CONTROLS)
        ]
    )
    tables = [
        Table(
            "Mean cosine by estimator",
            frame,
            note=f"In order: share of new pairs put in order by {HEADLINE} weights. Weights by LDA "
            "live in another metric than differences, so their cosines are smaller by nature.",
        )
    ]
    extra = ""
    if own.unembedding is not None:
        value = own.unembedding.mean_diagonal
        extra = (
            f"\n\nWeights made of {UNEMBEDDING} rows of other words (second minus first, causal "
            f"inner product), held against states: {written(value)} over "
            f"{len(own.unembedding.names)} concepts with pairs of one token each; in order "
            f"{written(own.unembedding.mean_order)}. They say which word comes next, and the state "
            f"of a word says what follows it, so no large number is to be expected here."
        )
    return Section(
        "What needs no learning",
        f"That a cosine differs from zero says that the concept can be read, not that reading it "
        f"was learned: spelling alone relates many pairs. Here the same procedure runs on the "
        f"{TABLE} of the last token, the {BAG_OF_TOKENS}, {RANDOM}, and the {COUNT} alone.{extra}",
        [figure],
        tables,
    )


def _rows(quantity: str, values: dict[str, Estimate]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "quantity": quantity,
                "control": name,
                "estimate": value.estimate,
                "ci_low": value.ci_low,
                "ci_high": value.ci_high,
                "ci_level": value.ci_level,
            }
            for name, value in values.items()
        ]
    )


def layers_section(own: PairAnswers) -> Section:
    """Return the curve along the depth of the model, and the differences from controls."""
    rows = own.curve_table()
    figure = layer_curve(
        rows,
        quantities={
            "mean_diagonal": "Mean cosine with new pairs",
            "mean_order": "New pairs in order",
        },
        reference=RANDOM,
        caption=f"{HEADLINE.capitalize()} weights along the depth of the model. Bands: intervals, "
        "each for its layer alone.",
    )
    differences = own.layer_difference_table()
    frames = []
    for site, matrix in own.curve.items():
        value = matrix.mean_diagonal
        row: dict[str, object] = {"layer": site, "model": written(value)}
        p = rows[(rows["layer"] == site) & (rows["quantity"] == "mean_diagonal")]
        row["p"] = float(p[p["control"] == ""]["p_value"].iloc[0])
        for control in (TABLE, BAG_OF_TOKENS, RANDOM):
            own_rows = differences[
                (differences["layer"] == site) & (differences["control"] == control)
            ]
            row[f"minus {control}"] = "".join(
                interval(r["estimate"], r["ci_low"], r["ci_high"])
                for r in own_rows.to_dict("records")
            )
        frames.append(row)
    table = Table(
        "Layer by layer",
        pd.DataFrame(frames),
        note="p: that the signs of pairs do not matter, adjusted along the layers "
        "(Benjamini–Hochberg). Differences are paired; the random weights are read at the same "
        "layer.",
    )
    return Section(
        "Along the layers",
        "The verdict speaks of one layer, named before any data. Here are all that were read, "
        "beside the same architecture with random weights.",
        [figure],
        [table],
    )


def identity_section(own: PairAnswers) -> Section:
    """Return how far joint weights times offsets are from the identity, where there can be one."""
    span = own.span
    text = (
        f"Some relations are combinations of others (verb → 3pSg, then 3pSg → Ved), so the full "
        f"identity is impossible even in the population. {span.rank} of {len(span.names)} offsets "
        f"are independent: more than a tenth of each squared offset lies outside the span of those "
        f"before it. The condition number of all is "
        f"{_condition(span.condition_number)}, of the independent ones "
        f"{_condition(span.condition_independent)}.\n\n"
        f"- combinations of others: {', '.join(map(shown, span.dependent)) or 'none'}\n"
        f"- not shown to be there: {', '.join(map(shown, span.absent)) or 'none'}"
    )
    if not own.inverses:
        return Section("How far from the identity", text)
    frame = pd.DataFrame(
        [
            {
                "states": control or f"model, {site}",
                "estimate": inverse.distance.estimate,
                "ci_low": inverse.distance.ci_low,
                "ci_high": inverse.distance.ci_high,
                "ci_level": inverse.distance.ci_level,
                "mean diagonal": written(inverse.mean_diagonal),
                "off the diagonal": inverse.mean_off_diagonal,
            }
            for (control, site), inverse in own.inverses.items()
        ]
    )
    table = Table(
        "Joint weights of one half times mean differences of the other",
        frame,
        headings={"estimate": "distance from I"},
        note="Root mean square per concept of W A − I, freed of sampling noise: 0 for the "
        "identity, 1 for weights that give nothing, "
        "a dash where entries are too unsure to tell. The concepts are those independent at "
        f"{HEADLINE_SITE}, the same in every row.",
    )
    return Section("How far from the identity", text, tables=[table])


def _condition(value: float) -> str:
    if math.isnan(value):
        return "not defined"
    return f"{value:.3g}" if value < LARGEST_CONDITION else "without bound"


def tokens_section(model: ModelWords, own: PairAnswers) -> Section:
    """Return what the number of tokens can explain, and which states are attention sinks."""
    count = own.matrices[COUNT, HEADLINE].mean_diagonal
    text = (
        f"The number of tokens alone reaches a mean cosine of {written(count)}: second words are "
        f"often longer. "
    )
    if own.matched is not None:
        text += (
            f"Among pairs whose words have as many tokens each, {own.matched.mean_diagonal.n:,} of "
            f"{own.headline.mean_diagonal.n:,}, the model has "
            f"{written(own.matched.mean_diagonal)} over {len(own.matched.names)} concepts."
        )
    frame = pd.DataFrame(
        [{"layer": site, "words": len(model.tokens), "sinks": n} for site, n in model.sinks.items()]
    )
    return Section(
        "Token counts and attention sinks",
        text + "\n\nA state ten times larger than the median is most likely an attention sink, and "
        "would be read for its size. Words are read behind a first token that takes the sink.",
        tables=[Table("Sinks among the words", frame)],
    )
