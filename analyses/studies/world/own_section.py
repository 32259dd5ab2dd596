"""What a report says of the posterior that a model's own predictions imply."""

from collections.abc import Mapping

import pandas as pd

from concept_ppl.analyses import Estimate
from concept_ppl.analyses.studies.stages.claim_sections import columns_of, written
from concept_ppl.analyses.studies.stages.own_posteriors import OwnPosterior
from concept_ppl.reports import Section, Table

from .models import ModelAnswers

BELIEVES = 0.05
"""Nats of KL below which a model is said to believe what Bayes believes."""


def believed(name: str, own: OwnPosterior | str) -> str:
    """Say in a sentence whether the model believes what Bayes believes."""
    if isinstance(own, str):
        return ""
    distance = own.beliefs.jensen_shannon
    relation = (
        "believes nearly what Bayes believes"
        if distance.ci_high < BELIEVES
        else "does not believe what Bayes believes"
    )
    return (
        f"By its own next words {name} {relation}: the posterior that they imply is "
        f"{written(distance)} nats (Jensen–Shannon) from the exact one."
    )


def own_section(models: Mapping[str, ModelAnswers]) -> Section:
    """Return how far each model's own posterior is from the exact one, and the form in it."""
    texts, tables = [], []
    for name, one in models.items():
        if isinstance(one.own, str):
            texts.append(f"{name}: {one.own}")
            continue
        texts.append(f"{believed(name, one.own)} {_own_form(name, one)}")
        tables.append(Table(f"The own posterior of {name}", _rows(one.own)))
    about = (
        "A pretrained model is Bayes, at best, in the world that it was trained on. The weights of "
        "concept values with which the world's words mix to the model's own distribution of the "
        "next word (its first token) are the posterior that it holds by its own predictions: by "
        "maximum likelihood, unique where the rows p(word | value) are independent. How far they "
        "are from the exact posterior is a matter of belief; how affine the state is in their "
        "logarithm is one of form."
    )
    return Section("Whose posterior", "\n\n".join([about, *texts]), tables=tables)


def _own_form(name: str, one: ModelAnswers) -> str:
    own, twin = one.own, one.twin
    assert isinstance(own, OwnPosterior)
    if own.fit is None or own.form is None:
        return "Its own log-posterior hardly varies, so that its form cannot be asked."
    world = one.states.fits["log_odds"].backward
    beside = ""
    if isinstance(twin, OwnPosterior) and twin.fit is not None:
        beside = f"; random weights tell {written(twin.fit.backward)} of theirs"
    return (
        f"The state of {name} tells {written(own.fit.backward)} of its own log-odds{beside}, and "
        f"{written(world)} of the exact ones. It follows the power {written(own.form.alpha)} of "
        f"its own posterior. That a state tells its own log-odds is largely so by construction, "
        f"since the weights are read off it through the unembedding: compare it with random "
        f"weights."
    )


def _rows(own: OwnPosterior) -> pd.DataFrame:
    entries: list[tuple[str, Estimate]] = [
        ("mass of the model on the first tokens of next words", own.implied.mass),
        ("KL of Bayes's next word to the model's, nats", own.predictor_gap),
        ("KL of the model's next word to the mixture, nats", own.implied.kl),
        ("Jensen–Shannon of the two posteriors, nats", own.beliefs.jensen_shannon),
    ]
    return pd.DataFrame([{"quantity": name, **columns_of(value)} for name, value in entries])
