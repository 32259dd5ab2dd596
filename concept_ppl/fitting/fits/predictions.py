"""What a fit says of contexts, its uncertainty about the parameters included."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import ModelError
from concept_ppl.inference.impossible_contexts import ImpossibleContextError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.inference.results import Posterior
from concept_ppl.logspace import normalise
from concept_ppl.programs.graph_assembly import Model

from .fits import Fit
from .fitted_models import draws_of

Progress = Callable[[int, int], None]


def averaged_posterior(
    model: Model,
    fit: Fit,
    contexts: Contexts,
    *,
    n_draws: int,
    seen: bool,
    joint: bool = False,
    memory: float = 2e9,
    device: torch.device | str = "cpu",
    impossible: str = "raise",
    progress: Progress | None = None,
) -> Posterior:
    """Return log p(concepts | context, data): the posterior averaged over the parameters' draws.

    p(c | x, data) = Σ_s w_s p(c | x, θ_s) with w_s ∝ p(x | θ_s) for a context that the fit has not
    seen, because the context itself speaks of the parameters; the draws of a fit that has seen it
    know of it already, and count alike.

    Parameters
    ----------
    model, fit
        The program that was fitted, and its fit.
    contexts
        Each is answered for itself.
    n_draws
        Over how many draws to average, at most as many as there are.
    seen
        Whether these are the contexts that were fitted.
    joint, memory, device, progress
        As in :func:`concept_ppl.posterior`. The joint is computed in any case: the entropy of an
        average is not the average of entropies.
    impossible
        As in :func:`concept_ppl.posterior`, of contexts that no draw can produce.

    Returns
    -------
    Posterior
        ``log_evidence`` is log (1/S) Σ_s p(x | θ_s).

    Raises
    ------
    ImpossibleContextError
        If ``impossible`` is ``raise`` and a context has probability zero at every draw.
    """
    draws = draws_of(fit, n_draws)
    total, evidence, answer = None, None, None
    for number, values in enumerate(draws):
        answer = posterior(
            model,
            contexts,
            values=values,
            joint=True,
            memory=memory,
            device=device,
            impossible="mark",
        )
        assert answer.log_joint is not None
        own = answer.log_evidence
        weighed = answer.log_joint if seen else answer.log_joint + own[:, None]
        total = weighed if total is None else torch.logaddexp(total, weighed)
        evidence = own if evidence is None else torch.logaddexp(evidence, own)
        if progress is not None:
            progress(number + 1, len(draws))
    if answer is None or total is None or evidence is None:
        raise ModelError("the fit holds no draws to average over.")
    if impossible == "raise" and bool((nowhere := torch.isneginf(evidence)).any()):
        rows = nowhere.nonzero().squeeze(1).numpy(force=True)
        raise ImpossibleContextError(answer.model, rows, can_be_marked=True)
    log_joint = normalise(total, 1)
    return replace(
        answer,
        log_marginals=_marginals(answer, log_joint),
        log_evidence=evidence - math.log(len(draws)),
        entropy=-torch.special.xlogy(log_joint.exp(), log_joint.exp()).sum(1),
        log_joint=log_joint if joint else None,
    )


def _marginals(answer: Posterior, log_joint: Tensor) -> dict[str, Tensor]:
    sizes = [len(concept.labels) for concept in answer.concepts]
    table = log_joint.reshape(-1, *sizes)
    found = {}
    for axis, concept in enumerate(answer.concepts, start=1):
        others = [other for other in range(1, table.ndim) if other != axis]
        found[concept.name] = table.logsumexp(others) if others else table
    return found
