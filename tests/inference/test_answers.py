"""Answers from one table: marginals are its sums, entropy its own, also of tables with zeros."""

import math

import numpy as np
import pytest
import torch

from concept_ppl.inference.exact.answers import Answer, answer_from_table, gather, p_log_p

from ..support.comparison import assert_log_close


def test_marginals_evidence_and_entropy_of_a_table():
    rng = np.random.default_rng(0)
    weights = rng.random((4, 2, 3)) * (rng.random((4, 2, 3)) > 0.3)
    weights[2] = 0
    answer = answer_from_table(("a", "b"), torch.as_tensor(weights).log(), joint=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights.sum((1, 2))
        p = np.nan_to_num(weights / total[:, None, None])
        assert_log_close(answer.log_evidence, np.log(total))
        assert_log_close(answer.log_marginals["a"], np.log(p.sum(2)))
        assert_log_close(answer.log_marginals["b"], np.log(p.sum(1)))
        assert_log_close(answer.log_joint, np.log(p.reshape(4, -1)))
        expected = -np.nansum(p * np.log(p), axis=(1, 2))
    np.testing.assert_allclose(answer.entropy, expected, atol=1e-14)


def test_p_log_p_of_zero_is_zero_with_finite_gradient():
    logs = torch.tensor([0.0, -math.inf], requires_grad=True)
    value = p_log_p(logs.exp(), logs)
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, logs)
    assert torch.isfinite(gradient).all()


def chunk_of(n_contexts, n_positions, first=0.0, *, gradients=False):
    values = torch.arange(n_contexts, dtype=torch.float64) + first
    values.requires_grad_(gradients)
    table = torch.stack([values, -values], 1)
    by_position = torch.full((n_positions, 2), first, dtype=torch.float64)
    return Answer(values, values.abs(), {"a": table}, filtered={"a": by_position})


@pytest.mark.parametrize("gradients", [False, True])
def test_chunks_are_gathered_in_their_order(gradients):
    sizes = [(2, 0), (3, 4), (1, 0)]
    firsts = (0.0, 2.0, 5.0)
    chunks = [
        chunk_of(n, m, f, gradients=gradients) for (n, m), f in zip(sizes, firsts, strict=True)
    ]
    whole = gather(iter(chunks), 6, 4)
    assert whole.log_evidence.tolist() == [0, 1, 2, 3, 4, 5]
    assert whole.log_marginals["a"][:, 1].tolist() == [0, -1, -2, -3, -4, -5]
    assert whole.filtered["a"].tolist() == [[2.0, 2.0]] * 4
    assert whole.log_joint is None
    assert whole.log_evidence.requires_grad is gradients


def test_a_single_chunk_is_not_copied():
    chunk = chunk_of(3, 2)
    assert gather([chunk], 3, 2).log_evidence is chunk.log_evidence
