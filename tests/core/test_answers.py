"""Answers from one table: marginals are its sums, entropy its own, also of tables with zeros."""

import math

import numpy as np
import torch

from concept_ppl.answers import answer_from_table, p_log_p

from .comparison import assert_log_close


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
