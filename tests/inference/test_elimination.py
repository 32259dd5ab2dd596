"""Where the joint has 2^60 values: recursions in numpy, and what elimination must not drop."""

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

from ..support.comparison import assert_log_close

N = 60


def network(parent_of, rows, emission, seen):
    """Binary concepts, each with one parent or none; tokens depend on two of them."""
    rows, emission = torch.as_tensor(rows), torch.as_tensor(emission)

    def model(n_tokens):
        values = []
        for i, parent in enumerate(parent_of):
            own = rows[i, 0] if parent is None else Vindex(rows[i])[values[parent]]
            values.append(pyro.sample(f"c{i}", dist.Categorical(own)))
        with pyro.plate("position", n_tokens):
            picked = Vindex(emission)[tuple(values[i] for i in seen)]
            pyro.sample("x", dist.Categorical(picked))
        pyro.sample("y", dist.Categorical(Vindex(rows[0])[values[-1]]))

    return model


def tree_posterior(parent_of, rows, potentials, pair):
    """Belief propagation for each joint value of two clamped nodes: log p(x), log-marginals."""
    n, total, marginals = len(parent_of), 0.0, np.zeros((len(parent_of), 2))
    for a, b in itertools.product(range(2), repeat=2):
        local = np.ones((n, 2))
        local[pair[0]] *= np.eye(2)[a]
        local[pair[1]] *= np.eye(2)[b]
        below, message = local.copy(), np.ones((n, 2))
        for i in range(n - 1, 0, -1):
            message[i] = rows[i] @ below[i]
            below[parent_of[i]] *= message[i]
        belief = np.zeros((n, 2))
        belief[0] = rows[0, 0] * below[0]
        for i in range(1, n):
            outside = np.divide(
                belief[parent_of[i]], message[i], out=np.zeros(2), where=message[i] > 0
            )
            belief[i] = (outside @ rows[i]) * below[i]
        total += potentials[a, b] * belief[0].sum()
        marginals += potentials[a, b] * belief
    return np.log(total), np.log(marginals / total)


def check(parent_of, seed, pair):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet([1, 1], size=(N, 2))
    emission = rng.dirichlet([1, 1, 1], size=(2, 2))
    graph = compile_model(network(parent_of, rows, emission, pair), 6)
    contexts = [[0, 1, 2, 2, 2, 0], [1], [], [-1, 2]]
    result = posterior(graph, contexts, engine="elimination")
    for row, context in enumerate(contexts):
        potentials = np.ones((2, 2))
        for token in context:
            potentials = potentials * (emission[..., token] if token >= 0 else 1)
        log_evidence, expected = tree_posterior(parent_of, rows, potentials, pair)
        assert_log_close(result.log_evidence[row], log_evidence)
        for i in range(N):
            assert_log_close(result.log_marginals[f"c{i}"][row], expected[i])
    automatic = posterior(graph, contexts)
    assert_log_close(automatic.entropy, result.entropy, 1e-9)
    for i in range(N):
        assert_log_close(automatic.log_marginals[f"c{i}"], result.log_marginals[f"c{i}"])


def test_a_chain_of_sixty_concepts_agrees_with_belief_propagation():
    check([None, *range(N - 1)], 1, (N - 1, 3))


def test_a_tree_of_sixty_concepts_agrees_with_belief_propagation():
    rng = np.random.default_rng(2)
    check([None, *(int(rng.integers(max(0, i - 9), i)) for i in range(1, N))], 3, (N - 1, N - 2))


def test_the_entropy_of_sixty_independent_coins_is_the_sum_of_theirs():
    def model(n_tokens):
        for i in range(N):
            pyro.sample(f"c{i}", dist.Bernoulli((i + 1) / (N + 2)))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(torch.ones(2) / 2))

    p = np.arange(1, N + 1) / (N + 2)
    expected = -(p * np.log(p) + (1 - p) * np.log1p(-p)).sum()
    for engine in ("elimination", "dense"):
        result = posterior(model, [[0]], engine=engine)
        assert_log_close(result.entropy, [expected])
