"""A world with all its contexts, as the arrays that analyses take: nothing in it was sampled."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from concept_ppl.analyses import independent_contrasts
from concept_ppl.errors import InputError
from concept_ppl.inference.enumerated_contexts import EnumeratedContexts, enumerate_contexts
from concept_ppl.model_sources import load_model
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.tracing import compile_model

Array = NDArray[np.float64]

JOINT, CONCEPTS = "joint", "concepts"


@dataclass(frozen=True, eq=False)
class ExactWorld:
    """Everything of a world that its contexts decide.

    Attributes
    ----------
    enumerated : EnumeratedContexts
        All contexts, with p(x), log p(y|x) and log p(c|x).
    log_likelihood : array, shape (C, V)
        log p(y|c), −inf where c never emits y.
    target : str
        ``joint``: contrasts are of the joint of all concepts. ``concepts``: of each concept alone,
        the others summed out.
    """

    enumerated: EnumeratedContexts
    log_likelihood: Array
    target: str

    @cached_property
    def weights(self) -> Array:
        """p(x), shape (n,)."""
        return _array(self.enumerated.probabilities)

    @cached_property
    def log_joint(self) -> Array:
        """The log p(c|x) of all joint values, shape (n, C)."""
        joint = self.enumerated.posterior.log_joint
        assert joint is not None
        return _array(joint)

    @cached_property
    def concepts(self) -> dict[str, Array]:
        """The log p(value|x) of each concept, shape (n, K), by name."""
        marginals = self.enumerated.posterior.log_marginals
        return {name: _array(table) for name, table in marginals.items()}

    @cached_property
    def tables(self) -> list[Array]:
        """What the contrasts are taken of: the joint, or each concept."""
        return [self.log_joint] if self.target == JOINT else list(self.concepts.values())

    @cached_property
    def impossible(self) -> float:
        """Probability of the contexts that rule a value out, where the log-posterior is −inf."""
        zero = np.zeros(len(self.weights), dtype=bool)
        for table in self.tables:
            zero |= np.isneginf(table).any(axis=1)
        return float(self.weights[zero].sum())

    @cached_property
    def log_odds(self) -> Array:
        """Contrasts of the log-posterior, (n, q), rotated to independent ones where collinear."""
        return self._independent([table[:, 1:] - table[:, :1] for table in self.tables])

    @cached_property
    def joint_log_odds(self) -> Array:
        """Contrasts of the log-posterior of the joint, whatever the target, likewise."""
        return self._independent([self.log_joint[:, 1:] - self.log_joint[:, :1]])

    @cached_property
    def posterior(self) -> Array:
        """Contrasts of the posterior itself, likewise."""
        return self._independent([np.exp(table[:, 1:]) for table in self.tables])

    @cached_property
    def is_full_rank(self) -> bool:
        """Whether no contrast is an affine function of the others."""
        return bool(self.log_odds.shape[1] == sum(table.shape[1] - 1 for table in self.tables))

    @cached_property
    def bayes(self) -> Array:
        """The log p(y_j|x) − log p(y_0|x) of the tokens that can follow, rotated likewise."""
        log_p = _array(self.enumerated.log_predictive)
        followed = log_p[:, ~np.isneginf(log_p).any(axis=0)]
        if followed.shape[1] < 2:
            raise InputError("Fewer than two next tokens can follow every context.")
        return self._independent([followed[:, 1:] - followed[:, :1]])

    @cached_property
    def information(self) -> float:
        """I(c; x) in nats: what a context tells of the joint of the concepts, on average."""
        prior = self.weights @ np.exp(self.log_joint)
        return float(_entropy(prior) - self.weights @ _entropy(np.exp(self.log_joint)))

    @cached_property
    def next_information(self) -> float:
        """I(c; y) in nats: what the next token tells of the concepts."""
        prior = self.weights @ np.exp(self.log_joint)
        joint = prior[:, None] * np.exp(self.log_likelihood)
        following = joint.sum(axis=0)
        return float(_entropy(prior) + _entropy(following) - _entropy(joint.ravel()))

    def last_tokens(self) -> Array:
        """Return indicators of the last token of each context, shape (n, vocabulary)."""
        last = self.enumerated.contexts.padded()[:, -1]
        return np.asarray(np.eye(self.enumerated.vocabulary)[last])

    def _independent(self, blocks: list[Array]) -> Array:
        together = np.hstack(blocks)
        rotated = independent_contrasts(together, self.weights)
        return together if rotated.shape == together.shape else rotated


def exact_world(
    model: str, parameters: Mapping[str, Any], length: int, target: str = JOINT
) -> ExactWorld:
    """Enumerate all contexts of one length of a world of the zoo.

    Raises
    ------
    InputError, ModelError
        If the target is unknown, and as `load_model` and `enumerate_contexts`.
    """
    if target not in {JOINT, CONCEPTS}:
        raise InputError(f"target '{target}' is unknown; choose {JOINT} or {CONCEPTS}.")
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in parameters.items()}
    program = load_model(model, **given)
    enumerated = enumerate_contexts(program, length)
    return ExactWorld(enumerated, log_likelihood(compile_model(program, length)), target)


def log_likelihood(graph: FactorGraph, site: str = "y") -> Array:
    """Return log p(y|c) of every joint value of the reported concepts, (C, V), the last fastest."""
    factor = graph.next_tokens[site]
    reported = graph.reported
    present = [name for name in reported if name in factor.scope]
    order = [factor.scope.index(name) for name in present]
    table = factor.table.permute(*order, len(order))
    shape = [concept.size if name in present else 1 for name, concept in reported.items()]
    whole = [concept.size for concept in reported.values()]
    table = table.reshape(*shape, -1).expand(*whole, table.shape[-1])
    return _array(table.reshape(-1, table.shape[-1]))


def _entropy(p: Array) -> Array:
    """−Σ p log p over the last axis, with 0 log 0 = 0."""
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)
    return np.asarray(-terms.sum(axis=-1))


def _array(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy(), np.float64)
