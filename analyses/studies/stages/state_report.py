"""Sections of a report on states and a posterior: the same words for the same analyses."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from concept_ppl.analyses import Estimate
from concept_ppl.reports import (
    KeyFigure,
    Section,
    Table,
    Tone,
    Verdict,
    canonical_bars,
    control_forest,
    decoded_scatter,
    layer_curve,
    p_value,
)

from .claim_sections import (
    in_words,
    linearity_section,
    posterior_section,
    probe_section,
    rank_section,
    written,
)
from .state_analyses import (
    EXACT,
    FITTED,
    GIVEN,
    LOG_ODDS,
    MAP_ONE_HOT,
    RANDOM_WEIGHTS,
    StateAnalyses,
)

OPENINGS: dict[Tone, str] = {
    "supported": "Yes",
    "partly": "Partly",
    "not supported": "No",
    "undecided": "Undecided",
}
LEARNED = (
    "“Learned” is said only of what goes beyond the controls: a relation that a sum of input "
    "embeddings or an untrained network shows as well is linear, but not learned."
)
HOW_COMPUTED = {
    EXACT: "The posterior was computed by enumeration of the Pyro program, in log-space and "
    "float64.",
    FITTED: "The posterior is that of a Pyro program whose tables were fitted to other texts, "
    "computed by enumeration: it is exact for the fitted program, not for the world, and what the "
    "fit missed counts as misfit of the states.",
    GIVEN: "The posterior was read from a table, as it was given.",
}
REPORT_FILES = ("index.html", "manifest.json")
"""What every report folder holds."""


def verdict(answers: StateAnalyses, subject: str = "", unasked: str = "") -> Verdict:
    """Answer in one sentence: affine and invertible, and more than what needs no learning.

    The sentence names its subject, where a page speaks of several. Controls that were not asked are
    named, too: what exceeds the others only cannot be called learned.
    """
    affine, measured = _affine(answers)
    about = f", for {subject}" if subject else ""
    if answers.controls is None:
        tone: Tone = "undecided" if affine == "supported" else affine
        opening = "Close to one" if affine == "supported" else OPENINGS[affine]
        remark = "No control was given, so nothing here tells learned from linear."
        return Verdict(f"{opening}{about}: {measured}.", tone, remark)
    difference, increment = answers.controls.difference, answers.controls.increment
    learned, compared = _learned(difference, best_names(answers), unasked)
    tone = weaker(affine, learned)
    sentence = f"{OPENINGS[tone]}{about}: {measured}; {compared} ({written(difference)} in R²)."
    states = f"the states{' of ' + subject if subject else ''}"
    remark = f"Added to the best control, {states} raise R² by {written(increment)}."
    return Verdict(sentence, tone, remark if subject else f"{remark} {LEARNED}")


def _affine(answers: StateAnalyses) -> tuple[Tone, str]:
    """Whether R² and the smallest ρ² exceed the margin, an equivalence claim, and its words."""
    margin = answers.equivalence.margin
    fit, smallest = answers.fits[LOG_ODDS].backward, answers.correlations[LOG_ODDS].smallest
    tone: Tone = "undecided"
    if answers.equivalence.shown:
        tone = "supported"
    elif min(fit.ci_high, smallest.ci_high) <= margin:
        tone = "not supported"
    words = {"supported": "above", "not supported": "not above", "undecided": "not clearly above"}
    return tone, (
        f"held-out R² of the log-odds is {written(fit)} and the smallest squared canonical "
        f"correlation {written(smallest)}, {words[tone]} the {margin} that the claim needs"
    )


def _learned(difference: Estimate, best: str, unasked: str = "") -> tuple[Tone, str]:
    if difference.ci_low > 0 and unasked:
        return "partly", (
            f"it reads more than the best control at hand, {best}, but {unasked} were not asked, "
            f"so that “learned” cannot be said"
        )
    if difference.ci_low > 0:
        return "supported", f"it reads more than its best control, {best}"
    if difference.ci_high < 0:
        return "not supported", f"its best control, {best}, reads more than the model does"
    return "undecided", f"it cannot be told apart from its best control, {best}"


def weaker(one: Tone, other: Tone) -> Tone:
    """Support for two claims together: no more than for either."""
    for tone in ("not supported", "undecided", "partly"):
        if tone in {one, other}:
            return tone
    return "supported"


def best_names(answers: StateAnalyses) -> str:
    """Name the control or controls that the folds chose as the best."""
    assert answers.controls is not None
    return shortened(answers.controls.best)


def shortened(best: Sequence[str]) -> str:
    """Name what most folds chose as the best, and say whether others chose otherwise."""
    [(name, count)] = Counter(best).most_common(1)
    return name if count == len(best) else f"{name} or others"


def key_figures(answers: StateAnalyses) -> list[KeyFigure]:
    """Return the strip of numbers below the verdict."""
    fit, correlations = answers.fits[LOG_ODDS], answers.correlations[LOG_ODDS]
    strip = [
        key_figure("Smallest ρ²", correlations.smallest, "1 would mean invertible"),
        key_figure(
            "R² of the log-odds", fit.backward, f"decoded from {answers.headline}, held out"
        ),
    ]
    if answers.controls is not None:
        strip += [
            key_figure("Model − best control", answers.controls.difference, best_names(answers)),
            key_figure(
                "Added to that control", answers.controls.increment, "R² of both minus R² of it"
            ),
        ]
    return strip


def key_figure(label: str, value: Estimate, note: str) -> KeyFigure:
    """Show an estimate in the strip."""
    return KeyFigure(label, value.estimate, value.ci_low, value.ci_high, note)


def analysis_sections(answers: StateAnalyses) -> list[Section]:
    """Return a section for each question that was asked, the most important first."""
    return [controls_section(answers), *claim_sections(answers)]


def claim_sections(answers: StateAnalyses) -> list[Section]:
    """Return the same without the controls, where a page shows them in its own way."""
    return [
        layers_section(answers),
        invertibility_section(answers),
        rank_section(answers),
        linearity_section(answers),
        posterior_section(answers),
        *([probe_section(answers.probes)] if answers.probes else []),
        tables_section(answers),
    ]


def controls_section(answers: StateAnalyses) -> Section:
    """Return the headline beside its controls."""
    if answers.controls is None:
        return Section("Controls", "No controls were given.")
    rows = answers.controls.tidy()
    levels = rows[(rows["quantity"] == "r2_backward") & (rows["control"] != "best")]
    levels = levels.sort_values("estimate", ascending=False, kind="stable")
    differences = rows[(rows["control"] == "best") & (rows["quantity"] != "r2_backward")]
    best = best_names(answers)
    labels = {
        "": f"model, {answers.headline}",
        "r2_difference": "model − best control",
        "r2_increment": "best control + model − control",
    }
    one_hot = answers.map_one_hot.backward
    text = (
        f"How much of the log-odds can be read off the model's state, and how much off things that "
        f"no training made: held-out R² of linear maps with the penalty tuned inside the training "
        f"folds. The best control ({best}) was chosen inside the training folds, and the "
        f"difference is paired: same folds, same contexts.\n\n"
        f"For scale: knowing only which value is the most probable ({MAP_ONE_HOT}) gives R² "
        f"{written(one_hot)} of the same log-odds. It is no rival, since it is made from the "
        f"posterior itself, but it shows how much of R² is classification."
    )
    figure = control_forest(
        levels,
        differences,
        labels=labels,
        levels_title="Held-out R² of the log-odds",
        differences_title="Differences in R²",
        caption=f"The model's state at {answers.headline} beside its controls, then the paired "
        f"differences from the best of them. Points: estimates; bars: {_level(answers)} intervals.",
    )
    return Section("What needs no learning", text, [figure])


def _level(answers: StateAnalyses) -> str:
    return f"{100 * answers.fits[LOG_ODDS].backward.ci_level:g}%"


def layers_section(answers: StateAnalyses) -> Section:
    """Return the curve along the depth of the model, and the test at each layer."""
    rows = answers.curve.tidy()
    shown = rows
    if answers.random_curve is not None:
        random = answers.random_curve.tidy().assign(control=RANDOM_WEIGHTS)
        shown = pd.concat([rows, random], ignore_index=True)
    figure = layer_curve(
        shown,
        quantities={
            "rho2_smallest": "Smallest ρ² (held out)",
            "rho2_mean": "Mean ρ² (held out)",
            "r2_backward": "R² of the log-odds (held out)",
        },
        reference=RANDOM_WEIGHTS,
        caption=f"Along the depth of the model. Bands: {_level(answers)} intervals, each for its "
        f"layer alone.",
    )
    text = (
        "The smallest canonical correlation says whether any direction of the log-odds is lost, "
        "the mean how well they are kept on the whole. The p-values of the table test each layer's "
        "quantity against no relation at all and are adjusted across layers (Benjamini–Hochberg): "
        "with this many contexts they say that something is there, not that it is learned."
    )
    columns = ["layer", "quantity", "estimate", "ci_low", "ci_high", "p_value"]
    table = Table("Layer by layer", in_words(rows)[columns])
    return Section("Along the layers", text, [figure], [table])


def invertibility_section(answers: StateAnalyses) -> Section:
    """Return canonical correlations and the scatter of true against decoded log-odds."""
    rows = answers.correlations[LOG_ODDS].tidy()
    directions = rows[rows["quantity"] == "rho2"].assign(
        term=lambda frame: frame["term"].str.rpartition("_")[2]
    )
    bars = canonical_bars(
        directions,
        caption=f"Squared canonical correlations between the state at {answers.headline} and the "
        f"log-odds: directions found in the training folds, correlated in the test fold. An "
        f"invertible affine map would have them all at 1. Bars: {_level(answers)} intervals.",
    )
    fits = answers.fits[LOG_ODDS].tidy()
    prefix = f"{LOG_ODDS}:"
    per_contrast = fits[fits["term"].str.startswith(prefix)].assign(
        term=lambda frame: frame["term"].str.removeprefix(prefix)
    )
    scatter = decoded_scatter(
        answers.true,
        answers.decoded,
        answers.contrasts,
        r2=per_contrast,
        x_label=f"{answers.posterior_is} log-odds (nats)",
        caption=f"{answers.posterior_is.capitalize()} log-odds (nats) against those decoded from "
        "held-out states; stronger colour for more contexts. On the diagonal, decoding is perfect.",
    )
    text = (
        "Representations are known only up to a linear map, so agreement is measured in directions "
        "that no such map can change. The last direction is the one that the training folds rank "
        "lowest; it decides whether the map can be inverted."
    )
    return Section("Is anything lost", text, [bars, scatter])


def tables_section(answers: StateAnalyses) -> Section:
    """Return the regression of each contrast on the leading held-out directions."""
    rows = answers.tables.tidy()
    rows = rows[rows["quantity"] == "coefficient"]
    parts = rows["term"].str.removeprefix(f"{LOG_ODDS}:").str.rpartition(":")
    frame = rows.assign(contrast=parts[0], coefficient=parts[2])
    tables = [
        Table(
            f"Regression of {contrast}",
            own[["coefficient", "estimate", "ci_low", "ci_high", "std_error", "p_value"]],
        )
        for contrast, own in frame.groupby("contrast", sort=False)
    ]
    joint = "\n".join(
        f"- {table.contrast}: F({table.wald.df_num:g}, {table.wald.df_denom:g}) = "
        f"{table.wald.statistic:,.1f}, {p_value(table.wald.p_value, symbol=True)}"
        for table in answers.tables.tables
    )
    text = (
        f"Ordinary least squares of each log-odds (nats) on the held-out canonical directions of "
        f"the state at {answers.headline}, in standard deviations; one row for each distinct "
        f"context, weighted by its count, covariance {answers.tables.covariance}. Joint robust "
        f"tests that all slopes are zero:\n\n{joint}"
    )
    return Section("Contrast by contrast", text, tables=tables)


def methods_section(answers: StateAnalyses) -> Section:
    """Return how the numbers came about."""
    n = answers.fits[LOG_ODDS].backward
    return Section(
        "Methods",
        f"Regressors are contrasts of the {answers.posterior_is} log-posterior (log-odds of each "
        f"value against the first), never raw log-probabilities, whose normaliser is not linear. "
        f"{HOW_COMPUTED[answers.posterior_is]}\n\n"
        f"{n.n:,} contexts, {n.n_clusters:,} of them distinct. A distinct context is one unit: "
        f"folds keep its repeats together and intervals are robust to them. Every R² and "
        f"correlation is held out (five folds); the ridge penalty is tuned by folds inside the "
        f"training folds. Intervals ({_level(answers)}) are those of cross-validated averages "
        f"(Bayle et al. 2020, arXiv 2007.12671) by the delta method on sums over distinct "
        f"contexts; they hold for maps fitted to this many contexts. A squared correlation that is "
        f"negative means that training and test disagree in sign.\n\n"
        f"The claim tested is that of Liu et al. (arXiv 2503.08980): f(x) ≈ A log p(c | x) + b "
        f"with A invertible. It is an equivalence claim (an intersection–union test): it is "
        f"supported when the one-sided lower {_level(answers)} bounds of the smallest ρ² and of R² "
        f"both lie above {answers.equivalence.margin}, and learned only if the model also exceeds "
        f"its best control.",
    )
