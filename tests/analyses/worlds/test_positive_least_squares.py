"""The minimum over non-negative coordinates is that of Lawson and Hanson, problem by problem."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from concept_ppl.analyses.worlds.positive_least_squares import positive_least_squares


@pytest.mark.parametrize("size", [1, 3, 12, 30])
def test_a_batch_is_solved_as_each_problem_alone(size):
    rng = np.random.default_rng(size)
    A = rng.normal(size=(200, 3 * size + 4, size)) * np.geomspace(1e-4, 1e4, size)
    b = rng.normal(size=(200, 3 * size + 4))
    H = torch.tensor(A.transpose(0, 2, 1) @ A)
    scale = np.linalg.norm(A, axis=1)
    start = torch.tensor(rng.random((200, size)) * (rng.random((200, size)) < 0.5) / scale)
    slopes = torch.tensor(np.einsum("nij,ni->nj", A, b)) - (H @ start[:, :, None]).squeeze(2)
    found = positive_least_squares(H, start, slopes).numpy()
    expected = np.array([nnls(own, right)[0] for own, right in zip(A, b, strict=True)])
    assert (found >= 0).all()
    assert 0.2 < (expected == 0).mean() < 0.8
    np.testing.assert_allclose(found * scale, expected * scale, atol=1e-8)


def test_it_ends_where_coordinates_are_copies_of_each_other():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 6, 4))
    A = np.concatenate([A, A], axis=2)
    b = rng.normal(size=(50, 6))
    found = positive_least_squares(
        torch.tensor(A.transpose(0, 2, 1) @ A),
        torch.zeros(50, 8, dtype=torch.float64),
        torch.tensor(np.einsum("nij,ni->nj", A, b)),
    ).numpy()
    left = np.linalg.norm(np.einsum("nij,nj->ni", A, found) - b, axis=1)
    least = [nnls(own, right)[1] for own, right in zip(A, b, strict=True)]
    np.testing.assert_allclose(left, least, atol=1e-6)
