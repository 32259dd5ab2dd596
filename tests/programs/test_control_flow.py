"""A branch on an enumerated value is seen, however rare the value; what is no branch goes on."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.control_flow import ControlFlowError, enumerated
from concept_ppl.programs.tracing import compile_model

from ..support.comparison import assert_log_close

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)
ROWS = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)


def program(probs_of):
    """Two concepts of fifty values and tokens with the probabilities that ``probs_of`` returns."""

    def model(n_tokens):
        a = pyro.sample("a", dist.Categorical(torch.ones(50) / 50))
        b = pyro.sample("b", dist.Categorical(torch.ones(50) / 50))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(probs_of(a, b)))

    return model


@pytest.mark.parametrize(
    "branch",
    [
        lambda a, b: ROWS[0] if ((a == 7) & (b == 3)).all() else HALF,
        lambda a, b: ROWS[0] if (a * b).sum() == 1e9 else HALF,
        lambda a, b: ROWS[0] if torch.equal(a, b) else HALF,
        lambda a, b: ROWS[int(a.float().mean()) // 100],
        lambda a, b: ROWS[torch.stack([a.flatten(), b.flatten()]).max().item() // 100],
    ],
)
def test_a_branch_that_two_runs_in_a_thousand_would_take_is_refused(branch):
    with pytest.raises(ModelError, match=r"control flow at line \d+ .* depends on the value"):
        compile_model(program(branch), 2)


def test_checks_inside_the_libraries_are_no_branch():
    def probs(a, b):
        rows = Vindex(ROWS.repeat(25, 1))[a]
        dist.Categorical(rows, validate_args=True)
        return rows

    compile_model(program(probs), 2)


def test_arithmetic_in_numpy_is_no_branch():
    result = posterior(
        program(lambda a, b: torch.as_tensor(ROWS.numpy()[np.asarray(a) % 2])), [[0]]
    )
    expected = torch.tensor([0.9, 0.2], dtype=torch.float64).repeat(25)
    assert_log_close(result.log_marginals["a"], (expected / expected.sum()).log()[None])


def test_a_concept_with_one_value_may_decide_what_it_likes():
    def model(n_tokens):
        a = pyro.sample("a", dist.Categorical(torch.ones(1)))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(ROWS[int(a)] if a == 0 else HALF))

    assert_log_close(posterior(model, [[1]]).log_evidence, [np.log(0.1)])


def test_the_mark_passes_to_what_is_computed():
    values = enumerated(torch.arange(3))
    for derived in (values + 1, values.float().exp().sum(), torch.stack([values, values])[0, 0]):
        with pytest.raises(ControlFlowError):
            bool((derived > 0).all())
    assert values.shape == (3,)
