"""Sections of a report that test the parts of the claim: inverted, affine, of the logarithm."""

import math
from collections.abc import Sequence

import pandas as pd

from concept_ppl.analyses import Estimate, HypothesisTest, Probe
from concept_ppl.reports import Section, Table, interval, p_value, power_profile

from .state_analyses import LOG_ODDS, POSTERIOR, StateAnalyses

WORDS = {
    "r2_forward": "R² of the state given the target",
    "r2_backward": "R² of the target given the state",
    "rho2_smallest": "smallest ρ²",
    "rho2_mean": "mean ρ²",
    LOG_ODDS: "log-odds",
    POSTERIOR: "posterior",
}


DIAGNOSTICS = {"reset": "RESET", "rainbow": "Rainbow", "harvey_collier": "Harvey–Collier"}


def in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """Put words in place of the names that the tidy columns ``quantity`` and ``term`` hold."""
    return rows.assign(quantity=rows["quantity"].replace(WORDS), term=rows["term"].replace(WORDS))


def written(value: Estimate) -> str:
    """Write an estimate with its interval."""
    return interval(value.estimate, value.ci_low, value.ci_high)


def columns_of(value: Estimate) -> dict[str, float]:
    """Return an estimate and its interval as the columns that tables and drawings take."""
    return {"estimate": value.estimate, "ci_low": value.ci_low, "ci_high": value.ci_high}


def tested(test: HypothesisTest) -> str:
    """Write the p-value of a test, or why there is none."""
    return test.invalid_because or p_value(test.p_value, symbol=True)


def rank_section(answers: StateAnalyses) -> Section:
    """Return whether a direction of the log-odds is lost altogether, and how well it is kept."""
    found = answers.invertibility
    rows = found.tidy()
    values = rows[rows["quantity"] == "singular_value"]
    directions = values.assign(direction=values["term"].str.rpartition("_")[2])
    table = Table(
        "Singular values there and back",
        directions[["direction", "estimate", "ci_low", "ci_high"]],
        note="1: read back exactly; 0: lost. Weyl intervals, simultaneous and conservative.",
    )
    q, condition = len(found.tests), found.condition_number
    bound = (
        f"at most {condition.ci_high:.3g}"
        if math.isfinite(condition.ci_high)
        else "without an upper bound, since the smallest singular value may be 0"
    )
    text = (
        f"Can the log-odds be read back at all? The test that the map loses a direction (rank "
        f"below {q}) gives {tested(found.full_rank)}; {found.estimated_rank} of {q} directions are "
        f"shown to be there. That a direction is there does not say how well: the condition number "
        f"of the way there and back is {condition.estimate:.3g}, {bound}."
    )
    return Section("Is a direction missing", text, tables=[table])


def linearity_section(answers: StateAnalyses) -> Section:
    """Return whether a nonlinear map would do better."""
    found = answers.linearity
    rows = found.tidy()
    gains = rows[rows["quantity"].isin(["r2_gain_forward", "r2_gain_backward"])].assign(
        quantity=["directions of the state given the log-odds", "log-odds given the state"]
    )
    table = Table(
        "What a nonlinear map gains in held-out R²",
        gains[["quantity", "estimate", "ci_low", "ci_high", "p_value"]],
        note="The second has no say in the verdict: it bends wherever noise is not Gaussian.",
    )
    diagnostics = "\n".join(
        f"- {DIAGNOSTICS[part.name]}: {tested(part.test)} ({part.caveat})"
        for part in found.diagnostics
    )
    text = (
        f"{found.verdict[0].upper()}{found.verdict[1:]}. Squares and products of the log-odds, "
        f"added to the regression of the held-out directions, are tested robustly: "
        f"{tested(found.added_terms)}. The rival map is a ridge regression on random Fourier "
        f"features, tuned in the same folds.\n\nDiagnostics of the strongest direction, for "
        f"readers who expect them, and no part of the verdict:\n\n{diagnostics}"
    )
    return Section("Is the map affine", text, tables=[table])


def posterior_section(answers: StateAnalyses) -> Section:
    """Return whether the states follow the logarithm of the posterior or the posterior itself."""
    form = answers.form
    rows = form.tidy()
    profile = rows[rows["quantity"] == "r2"]
    profile = profile.assign(term=profile["term"].str.rpartition("_")[2])
    alpha = form.alpha
    figure = power_profile(
        profile,
        (alpha.estimate, alpha.ci_low, alpha.ci_high),
        label="held-out R², whitened",
        caption="How well contrasts of (pᵅ − 1)/α are decoded from held-out states, from the "
        "log-posterior (α = 0) to the posterior itself (α = 1), in a metric that does not depend "
        f"on their scale. Band: α̂ with its {100 * alpha.ci_level:g}% bootstrap interval.",
    )
    fits = [fit.tidy() for fit in answers.fits.values()]
    correlations = [correlation.tidy() for correlation in answers.correlations.values()]
    whole = pd.concat([*fits, *correlations])
    overall = whole[whole["term"].isin([LOG_ODDS, POSTERIOR]) & (whole["control"] == "")]
    overall = overall[overall["analysis"] != "compare_controls"]
    table = Table(
        "The log-odds and the posterior itself, at the same state",
        in_words(overall)[["term", "quantity", "estimate", "ci_low", "ci_high"]],
        headings={"term": "target"},
    )
    text = (
        f"The theory speaks of the logarithm of the posterior. Verdict on the power of p that the "
        f"states follow: {form.verdict} (α̂ {written(alpha)}). The log-posterior fits better than "
        f"the posterior by {written(form.difference)} in held-out R² of whitened contrasts "
        f"({p_value(form.difference.p_value, symbol=True)}); below zero, the posterior fits "
        f"better.\n\nThe table's R² are shares of different variances, so compare its canonical "
        f"correlations. The forward R² says how much of the state's whole variance the concept "
        f"explains; a low one is expected, since a state holds much else."
    )
    return Section("Log-posterior or posterior", text, [figure], [table])


def probe_section(probes: Sequence[Probe]) -> Section:
    """Return how well probes read the concepts' values, beside the exact posterior."""
    rows = []
    for one in probes:
        assert one.bayes is not None
        assert one.gap is not None
        readers = (("probe", one.probe), ("Bayes", one.bayes), ("probe − Bayes", one.gap))
        for name, reader in readers:
            rows.append((one.concept, name, written(reader.accuracy), written(reader.log_loss)))
    calibrated = "; ".join(f"{one.concept}: {one.calibration}" for one in probes)
    table = Table(
        "Held-out logistic probes beside the exact posterior",
        pd.DataFrame(rows, columns=["concept", "reader", "accuracy", "log-loss, nats"]),
        note=f"Paired on the same contexts. {calibrated}.",
    )
    text = (
        "How well can the concept's true value be told from the state? The exact posterior is the "
        "best that anyone can do who reads the words. Accuracy is no part of the verdict: it is "
        "the same for the log-posterior, for the posterior, and for any code that only says which "
        "value leads."
    )
    return Section("What a classifier can say", text, tables=[table])
