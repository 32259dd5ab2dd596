"""Log-space sums: a zero is −inf and stays so, and its gradient is zero and not NaN."""

import math

import pytest
import torch

from concept_ppl.logspace import by_row, expectation, log, log_product, logsumexp, normalise

from .support.comparison import assert_log_close

NEVER = -math.inf


@pytest.mark.parametrize("differentiable", [False, True])
def test_a_slice_without_mass_is_a_zero_with_gradient_zero(differentiable):
    values = torch.tensor([[NEVER, NEVER], [0.0, NEVER], [-2000.0, -2000.0]], dtype=torch.float64)
    values.requires_grad_(differentiable)
    assert_log_close(logsumexp(values, 1), [NEVER, 0.0, math.log(2) - 2000], 1e-12)
    half = -math.log(2)
    assert_log_close(normalise(values, 1), [[NEVER, NEVER], [0.0, NEVER], [half, half]], 1e-12)
    if differentiable:
        (gradient,) = torch.autograd.grad(logsumexp(values, 1)[1:].sum(), values)
        assert gradient.tolist() == [[0, 0], [1, 0], [0.5, 0.5]]
        (gradient,) = torch.autograd.grad(normalise(values, 1).exp().sum(), values)
        assert torch.isfinite(gradient).all()


def test_sums_run_over_the_named_dimensions():
    values = torch.rand(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(logsumexp(values, (0, 2)), values.exp().sum((0, 2)).log())
    assert logsumexp(values, (0, 2), keepdim=True).shape == (1, 3, 1)
    assert logsumexp(values, ()) is values


def test_the_logarithm_of_zero_has_gradient_zero():
    p = torch.tensor([0.0, 0.25], requires_grad=True)
    logs = log(p)
    assert_log_close(logs, [NEVER, math.log(0.25)], 1e-7)
    (gradient,) = torch.autograd.grad(logs[1], p)
    assert gradient.tolist() == [0, 4]


def test_an_impossible_value_adds_nothing_to_an_expectation():
    log_p = torch.tensor([0.0, NEVER])
    assert expectation(log_p, torch.tensor([3.0, NEVER])).tolist() == [3, 0]


@pytest.mark.parametrize(("dtype", "low"), [(torch.float64, -800.0), (torch.float32, -200.0)])
def test_a_matrix_product_is_right_where_it_underflows(dtype, low):
    log_weights = torch.tensor([[0.0, low], [low, 0.0], [NEVER, 0.0]], dtype=dtype)
    log_matrix = torch.tensor([[0.0, low], [NEVER, 0.0]], dtype=dtype)
    result = log_product(log_weights.exp(), log_weights, log_matrix.exp(), log_matrix)
    expected = [[0.0, low + math.log(2)], [low, 0.0], [NEVER, 0.0]]
    assert_log_close(result, expected, 1e-4 if dtype == torch.float32 else 1e-12)


def test_rows_are_flattened_also_where_there_are_none():
    assert by_row(torch.empty(0, 2, 3)).shape == (0, 6)
    assert by_row(torch.ones(4)).shape == (4, 1)
