"""Mixtures fitted to unlabelled words, held to the languages that the words come from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.fits.convergence import relative_efficiency
from concept_ppl.analyses.fits.found_groups import ClusteringAgreement, clustering_agreement
from concept_ppl.analyses.fits.model_ranking import ModelRanking, rank_models
from concept_ppl.analyses.fits.parameter_tables import ParameterEstimates, parameter_estimates
from concept_ppl.analyses.fits.predictive_accuracy import held_out_accuracy, leave_one_out, total
from concept_ppl.analyses.fits.predictive_checks import PredictiveCheck, token_checks
from concept_ppl.analyses.regression.calibration import Calibration, calibration
from concept_ppl.analyses.results.rows import Estimate
from concept_ppl.analyses.studies.stages.announcements import Progress, Stage
from concept_ppl.contexts.tokens import Contexts, as_contexts
from concept_ppl.fitting import Fit, fit
from concept_ppl.fitting.fits.fitted_models import draws_of
from concept_ppl.fitting.fits.observations import Observations
from concept_ppl.fitting.fits.predictions import averaged_posterior
from concept_ppl.fitting.fits.replicates import replicate
from concept_ppl.inference.posteriors import posterior
from concept_ppl.inference.simulation import simulate
from concept_ppl.model_sources import load_model
from concept_ppl.programs.graph_assembly import Model

from .plan import SHORT, WordsStudy

N_BINS = 10


N_AVERAGED = 100
"""Draws that the posterior of new contexts is averaged over."""


FREQUENT = 0.01
"""Convergence is read off the words that are at least so frequent in a component."""


@dataclass(frozen=True)
class FittedMixture:
    """One number of components.

    Attributes
    ----------
    point, draws : Fit
        By EM under a flat prior, and by NUTS from there under the study's own.
    estimates : ParameterEstimates
        Of the shares and of each component's frequent words.
    agreement : ClusteringAgreement
        Of the components with the languages, on the contexts that were fitted.
    checks : tuple of PredictiveCheck
    """

    point: Fit
    draws: Fit
    estimates: ParameterEstimates
    agreement: ClusteringAgreement
    checks: tuple[PredictiveCheck, ...]


@dataclass(frozen=True)
class WordsAnswers:
    """What the study found.

    Attributes
    ----------
    study : WordsStudy
    words : tuple of str
    fitted : mapping of int to FittedMixture
        By number of components.
    leave_one_out, held_out : ModelRanking
        The numbers of components, by seen and by new contexts.
    agreement, ceiling : ClusteringAgreement
        On new contexts: of the mixture with as many components as languages, and of the exact
        posterior under the true tables, which no fit can exceed but by luck.
    calibration, exact_calibration : Calibration
        On new contexts of one or two words: of the mixture's posterior, averaged over its draws,
        and of the true one.
    gap : Estimate
        On the same contexts, how much more often the mixture's most probable language was right
        than it said.
    distances : mapping of str to float
        Total variation between each language's word frequencies and those of its component.
    emission : float64 array, shape (n_languages, n_words)
        Word frequencies of each language's component.
    contexts : DataFrame
        As they were fitted, the language beside.
    """

    study: WordsStudy
    words: tuple[str, ...]
    fitted: Mapping[int, FittedMixture]
    leave_one_out: ModelRanking
    held_out: ModelRanking
    agreement: ClusteringAgreement
    ceiling: ClusteringAgreement
    calibration: Calibration
    exact_calibration: Calibration
    gap: Estimate
    distances: Mapping[str, float]
    emission: NDArray[np.float64]
    contexts: pd.DataFrame


def analyse_words(study: WordsStudy, stage: Stage) -> WordsAnswers:
    """Simulate, fit every number of components, and hold the right one to the truth."""
    world = load_model("word_languages", languages=study.languages, top=study.top)
    table = simulate(world, study.n_contexts, lengths=study.lengths, seed=study.seed)
    new = simulate(world, study.n_new, lengths=study.lengths, seed=study.seed + 1)
    short = simulate(world, study.n_new, lengths=(1, SHORT), seed=study.seed + 2)
    words = tuple(world.labels["x"])  # type: ignore[attr-defined]
    fitted = {}
    for k in study.components:
        with stage(f"fit {k} components") as progress:
            fitted[k] = _fitted(study, k, len(words), table, progress)
    with stage("hold them to the truth"):
        return _answers(study, world, words, fitted, table, new, short)


def mixture(k: int, n_words: int, concentration: float) -> Model:
    """Return a mixture of k components whose shares and word frequencies are unknown."""
    return load_model(
        "topic_mixture", learn=True, topics=k, vocabulary=n_words, concentration=concentration
    )


def _fitted(
    study: WordsStudy, k: int, n_words: int, table: pd.DataFrame, progress: Progress
) -> FittedMixture:
    model, contexts = mixture(k, n_words, study.concentration), as_contexts(table)
    point = fit(
        mixture(k, n_words, 1.0),
        contexts,
        "em",
        restarts=study.restarts,
        seed=study.seed,
        standard_errors=False,
        log_likelihood=False,
    )
    n_iterations = study.warmup + study.draws
    draws = fit(
        model,
        contexts,
        "nuts",
        start=point.values,
        chains=2,
        warmup=study.warmup,
        draws=study.draws,
        seed=study.seed,
        progress=lambda now: progress(
            (now.run - 1) * n_iterations + now.iteration, 2 * n_iterations
        ),
    )
    # Log-frequencies near −∞ mix slowly whatever they are worth: look at those that matter.
    is_frequent = draws.matched["emission"].mean((0, 1)) >= FREQUENT
    main = {
        "share": draws.matched["share"],
        "emission": draws.matched["emission"][:, :, is_frequent],
    }
    estimates = parameter_estimates(main, n=study.n_contexts, level=study.level)
    seen = posterior(model, contexts, values=draws.values).log_marginals["topic"].numpy()
    agreement = clustering_agreement(
        seen.argmax(axis=1), _codes(study, table), level=study.level, seed=study.seed
    )
    observed = Observations(contexts)
    drawn = replicate(model, draws, observed, study.n_replicates, study.seed)
    checks = token_checks(contexts.tokens, drawn["x"], contexts.lengths, level=study.level)
    return FittedMixture(point, draws, estimates, agreement, checks)


def _answers(
    study: WordsStudy,
    world: Model,
    words: tuple[str, ...],
    fitted: Mapping[int, FittedMixture],
    table: pd.DataFrame,
    new: pd.DataFrame,
    short: pd.DataFrame,
) -> WordsAnswers:
    chosen = fitted[len(study.languages)]
    model = mixture(len(study.languages), len(words), study.concentration)
    matched = chosen.agreement.matched
    own = _log_languages(model, chosen.draws, as_contexts(new), matched)
    exact = posterior(world, new).log_marginals["language"].numpy()
    true = _codes(study, new)
    doubtful = _log_languages(model, chosen.draws, as_contexts(short), matched)
    emission = chosen.draws.matched["emission"].mean((0, 1))[matched]
    return WordsAnswers(
        study=study,
        words=words,
        fitted=fitted,
        leave_one_out=_leave_one_out(study, fitted),
        held_out=_held_out(study, fitted, len(words), as_contexts(new)),
        agreement=_agreement(study, own, true),
        ceiling=_agreement(study, exact, true),
        calibration=_calibration(study, doubtful, short),
        exact_calibration=_calibration(
            study, posterior(world, short).log_marginals["language"].numpy(), short
        ),
        gap=_gap(study, doubtful, short),
        distances=_distances(study, world, emission),
        emission=emission,
        contexts=table,
    )


def _codes(study: WordsStudy, table: pd.DataFrame) -> NDArray[np.int64]:
    return np.asarray(pd.Index(study.languages).get_indexer(pd.Index(table["language"])), np.int64)


def _log_languages(
    model: Model, draws: Fit, contexts: Contexts, matched: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return log p(language | context, data), shape (n, n_languages), of contexts not seen."""
    answer = averaged_posterior(model, draws, contexts, n_draws=N_AVERAGED, seen=False)
    table: NDArray[np.float64] = answer.log_marginals["topic"].numpy()[:, matched]
    return table


def _agreement(
    study: WordsStudy, log_p: NDArray[np.float64], true: NDArray[np.int64]
) -> ClusteringAgreement:
    return clustering_agreement(log_p.argmax(axis=1), true, level=study.level, seed=study.seed)


def _calibration(study: WordsStudy, log_p: NDArray[np.float64], table: pd.DataFrame) -> Calibration:
    """Measure reliability; rows are independent draws of a language and a context."""
    design = make_design(len(table), seed=study.seed)
    return calibration(log_p, _codes(study, table), design, n_bins=N_BINS, seed=study.seed)


def _gap(study: WordsStudy, log_p: NDArray[np.float64], table: pd.DataFrame) -> Estimate:
    """Return the mean of right or wrong less confidence, a mean of independent terms."""
    right = (log_p.argmax(axis=1) == _codes(study, table)).astype(np.float64)
    terms = right - np.exp(log_p.max(axis=1))
    return total(terms / len(terms), np.ones(len(terms)), study.level)


def _leave_one_out(study: WordsStudy, fitted: Mapping[int, FittedMixture]) -> ModelRanking:
    accuracies = {}
    for k, one in fitted.items():
        assert one.draws.log_likelihood is not None
        efficiency = relative_efficiency(one.draws.matched)
        accuracies[str(k)] = leave_one_out(
            one.draws.log_likelihood, relative_efficiency=efficiency, level=study.level
        )
    return rank_models(accuracies, level=study.level)


def _held_out(
    study: WordsStudy, fitted: Mapping[int, FittedMixture], n_words: int, new: Contexts
) -> ModelRanking:
    accuracies = {}
    for k, one in fitted.items():
        model = mixture(k, n_words, study.concentration)
        each = torch.stack(
            [
                posterior(model, new, values=values).log_evidence
                for values in draws_of(one.draws, N_AVERAGED)
            ]
        )
        accuracies[str(k)] = held_out_accuracy(each.numpy(), level=study.level)
    return rank_models(accuracies, level=study.level)


def _distances(study: WordsStudy, world: Model, emission: NDArray[np.float64]) -> dict[str, float]:
    true = posterior(world, [[word] for word in range(emission.shape[1])])
    # p(language | word) ∝ p(word | language), because the languages are equally likely.
    joint = (true.log_marginals["language"] + true.log_evidence[:, None]).exp().numpy().T
    tables = joint / joint.sum(axis=1, keepdims=True)
    distances = 0.5 * np.abs(tables - emission).sum(axis=1)
    return {code: float(value) for code, value in zip(study.languages, distances, strict=True)}
