"""What a counterfactual study answers first: the verdict on a model, and its strip of numbers."""

from concept_ppl.analyses.studies.stages.claim_sections import written
from concept_ppl.analyses.studies.stages.state_report import OPENINGS, key_figure
from concept_ppl.reports import KeyFigure, Tone, Verdict, interval, p_value

from .answers import PairAnswers
from .plan import BAG_OF_TOKENS, HEADLINE, HEADLINE_SITE, MODEL, TABLE


def pair_verdict(own: PairAnswers, subject: str = "") -> Verdict:
    """Answer for one model, named where a page speaks of several."""
    difference = own.differences[own.best_control].mean
    tone: Tone = "undecided"
    relation = "cannot be told apart from"
    if difference.ci_low > 0:
        tone, relation = "supported", "is more than"
    elif difference.ci_high < 0:
        tone, relation = "not supported", "is less than"
    best = own.matrices[own.best_control, HEADLINE].mean_diagonal
    about = f", for {subject}" if subject else ""
    others = _other_estimators(own)
    if others:
        tone = "undecided"
    sentence = (
        f"{OPENINGS[tone]}{about}{others}: at {HEADLINE_SITE}, weights learned from half of the "
        f"words have a mean cosine of {written(own.headline.mean_diagonal)} with the differences "
        f"of new pairs, which {relation} that of the best control, {own.best_control}, "
        f"{written(best)} (difference {written(difference)})."
    )
    return Verdict(sentence, tone, f"{best_layer(own, subject)}\n\n{published_sentence(own)}")


def _other_estimators(own: PairAnswers) -> str:
    """Say which estimators place the model on another side of its controls; empty where none."""
    against = own.multiverse.against_headline()
    if not against:
        return ""
    parts = [
        f"{fork.estimator} weights say {'more' if fork.sign > 0 else 'less'}, "
        f"{written(fork.difference)} against {fork.control}"
        for fork in against
    ]
    return (
        f", for the answer hangs on how weights are fitted ({'; '.join(parts)}). By the "
        f"{HEADLINE} weights named beforehand"
    )


def best_layer(own: PairAnswers, subject: str = "") -> str:
    """Say at which layer the model exceeds its input embeddings most."""
    table = own.layer_difference_table()
    rival = max(
        (TABLE, BAG_OF_TOKENS),
        key=lambda control: own.matrices[control, HEADLINE].mean_diagonal.estimate,
    )
    rows = table[table["control"] == rival]
    row = rows.sort_values("estimate").to_dict("records")[-1]
    low, high = float(row["ci_low"]), float(row["ci_high"])
    return (
        f"Along the layers{' of ' + subject if subject else ''} the largest difference from the "
        f"{rival} is that of {row['layer']}: {interval(float(row['estimate']), low, high)}, "
        f"{p_value(float(row['p_value']), symbol=True)} adjusted over the layers. This layer was "
        "picked after the fact; the verdict speaks of the one that was named before."
    )


def published_sentence(own: PairAnswers, subject: str = "") -> str:
    """Say what the published product is, and what it is on things that hold nothing."""
    numbers = "; ".join(
        f"{name} {product.mean:.3f}" for name, product in own.published.products.items()
    )
    return (
        f"The product of weights and offsets as it is published, in sample, has mean diagonals"
        f"{' for ' + subject if subject else ''} of: {numbers}. It is near 1 whatever the states "
        f"are, and says nothing."
    )


def pair_key_figures(own: PairAnswers) -> list[KeyFigure]:
    """Return the strip of numbers below the verdict on one model."""
    strip = [
        key_figure("Cosine, new pairs", own.headline.mean_diagonal, "mean diagonal"),
        key_figure(
            "Minus best control", own.differences[own.best_control].mean, "paired difference"
        ),
        key_figure("New pairs in order", own.headline.mean_order, "chance is .5"),
    ]
    inverse = own.inverses.get((MODEL, HEADLINE_SITE))
    if inverse is not None:
        note = f"{len(inverse.names)} concepts of {len(own.headline.names)}"
        strip.append(key_figure("Distance from I", inverse.distance, note))
    return strip
