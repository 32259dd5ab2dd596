"""A table holds what the user wrote: zeros stay zeros, and rows that do not sum to one are seen."""

import math

import pyro.distributions as dist
import pytest
import torch

from concept_ppl.programs.tables import is_enumerable, log_table, support, watching_row_sums

from ..support.comparison import assert_log_close

NEVER = -math.inf


def logs(*probabilities: float) -> list[float]:
    return [math.log(p) if p else NEVER for p in probabilities]


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (lambda: dist.Categorical(torch.tensor([0.25, 0.0, 0.75])), logs(0.25, 0, 0.75)),
        (lambda: dist.OneHotCategorical(torch.tensor([0.25, 0.0, 0.75])), logs(0.25, 0, 0.75)),
        (lambda: dist.Bernoulli(torch.tensor(0.0)), logs(1, 0)),
        (lambda: dist.Bernoulli(torch.tensor(1.0)), logs(0, 1)),
        (lambda: dist.Bernoulli(torch.tensor(0.3)), logs(0.7, 0.3)),
        (lambda: dist.Binomial(2, torch.tensor(0.0)), logs(1, 0, 0)),
        (lambda: dist.Binomial(2, torch.tensor(0.25)), logs(0.5625, 0.375, 0.0625)),
        (lambda: dist.Categorical(logits=torch.tensor([0.0, NEVER])), logs(1, 0)),
        (lambda: dist.Categorical(logits=torch.tensor([1.0, 1.0])), logs(0.5, 0.5)),
        (lambda: dist.Bernoulli(logits=torch.tensor(math.log(3.0))), logs(0.25, 0.75)),
        (lambda: dist.BetaBinomial(1.0, 1.0, 2), logs(1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_the_table_is_what_was_written_whatever_torch_computed_since(
    distribution, expected, touched
):
    torch.set_default_dtype(torch.float64)
    try:
        written = distribution()
        if touched:  # log_prob makes torch compute, and keep, clamped logits beside the probs
            written.log_prob(written.enumerate_support())
        assert_log_close(log_table(written), expected, 1e-14)
    finally:
        torch.set_default_dtype(torch.float32)


def test_logits_at_minus_two_thousand_are_not_clamped():
    logits = torch.tensor([0.0, -2000.0], dtype=torch.float64)
    for written in (dist.Categorical(logits=logits), dist.OneHotCategorical(logits=logits)):
        _ = written.probs
        assert_log_close(log_table(written), [0.0, -2000.0], 1e-12)
    coin = dist.Bernoulli(logits=torch.tensor(-2000.0, dtype=torch.float64))
    assert_log_close(log_table(coin), [0.0, -2000.0], 1e-12)


@pytest.mark.parametrize("logit", [-25.0, -20.5, 19.9, 20.5, 25.0])
def test_a_large_logit_keeps_its_complement(logit):
    table = log_table(dist.Bernoulli(logits=torch.tensor(logit, dtype=torch.float64)))
    expected = [-math.log1p(math.exp(logit)), -math.log1p(math.exp(-logit))]
    assert table.tolist() == pytest.approx(expected, rel=1e-14)


def test_a_tiny_probability_keeps_its_complement():
    table = log_table(dist.Bernoulli(torch.tensor(1e-17, dtype=torch.float64)))
    assert float(table[0]) == pytest.approx(-1e-17, rel=1e-12)


def test_float32_probabilities_are_normalised_in_float64():
    table = log_table(dist.Categorical(torch.tensor([0.1, 0.2, 0.7])))
    assert table.dtype == torch.float64
    assert float(table.exp().sum()) == pytest.approx(1, abs=1e-15)


def test_dimensions_that_a_plate_expanded_cost_nothing():
    table = log_table(dist.Categorical(torch.tensor([0.5, 0.5])).expand([1000, 3]))
    assert table.shape == (1000, 3, 2)
    assert table.untyped_storage().nbytes() == 2 * 8


def test_values_are_listed_in_the_order_of_the_table():
    assert support(dist.Binomial(2, torch.tensor(0.5))).tolist() == [0, 1, 2]
    torch.testing.assert_close(support(dist.OneHotCategorical(torch.ones(3) / 3)), torch.eye(3))


def test_only_a_finite_support_can_be_enumerated():
    assert is_enumerable(dist.Categorical(torch.ones(2)))
    assert not is_enumerable(dist.Poisson(1.0))
    assert not is_enumerable(dist.Normal(0.0, 1.0))
    uneven = dist.Binomial(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.5]))
    assert not is_enumerable(uneven)


def test_row_sums_are_watched_only_inside_the_block():
    with watching_row_sums() as sums:
        dist.Categorical(torch.tensor([[0.5, 0.5], [0.5, 0.4]]))
        dist.Categorical(torch.tensor([0.3, 0.7]))
        dist.OneHotCategorical(probs=torch.tensor([0.5, 0.7]))
        dist.Categorical(logits=torch.tensor([3.0, 4.0]))
    assert sums == pytest.approx([0.9, 1.2])
    dist.Categorical(torch.tensor([3.0, 4.0]))
    assert len(sums) == 2
