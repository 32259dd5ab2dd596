"""What equal means: logarithms to 1e-10 absolute, and a zero probability is a zero probability."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from concept_ppl.inference.results import Posterior

from .brute_force import Reference

EXACT = 1e-10
NORMALISED = 1e-12


def assert_log_close(
    actual: Tensor, expected: Sequence[object] | Tensor, tolerance: float = EXACT
) -> None:
    """Absolute difference of logarithms within the tolerance; −inf only where −inf is expected."""
    got = actual.detach().cpu().double().numpy()
    on_cpu = expected.detach().cpu() if isinstance(expected, Tensor) else expected
    want = np.asarray(on_cpu, dtype=np.float64)
    assert got.shape == want.shape
    assert not np.isnan(got).any()
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(want))
    finite = np.isfinite(want)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=tolerance)


def assert_normalised(log_p: Tensor, log_evidence: Tensor) -> None:
    """The probabilities of each possible context sum to one."""
    possible = ~torch.isneginf(log_evidence)
    total = log_p[possible].exp().sum(1)
    assert bool(((total - 1).abs() <= NORMALISED).all())


def assert_answers(
    result: Posterior, references: Sequence[Reference], tolerance: float = EXACT
) -> None:
    """Marginals, joint, evidence and entropy are those of the references."""
    assert len(result) == len(references)
    assert_log_close(result.log_evidence, [r.log_evidence for r in references], tolerance)
    assert_log_close(result.entropy, [r.entropy for r in references], tolerance)
    assert list(result.log_marginals) == list(references[0].log_marginals)
    for name, log_p in result.log_marginals.items():
        assert_log_close(log_p, [r.log_marginals[name] for r in references], tolerance)
        assert_normalised(log_p, result.log_evidence)
    if result.log_joint is not None:
        assert_log_close(result.log_joint, [r.log_joint for r in references], tolerance)
        assert_normalised(result.log_joint, result.log_evidence)
    assert all(math.isfinite(value) and value >= 0 for value in result.entropy.tolist())


def assert_same(a: Posterior, b: Posterior, tolerance: float = EXACT) -> None:
    """Two answers to the same question agree in everything that both hold."""
    assert_log_close(a.log_evidence, b.log_evidence.double(), tolerance)
    assert_log_close(a.entropy, b.entropy.double(), tolerance)
    for tables, others in (
        (a.log_marginals, b.log_marginals),
        (a.filtered, b.filtered),
        (a.smoothed, b.smoothed),
    ):
        assert list(tables) == list(others)
        for name, log_p in tables.items():
            assert_log_close(log_p, others[name].double(), tolerance)
    for one, other in (
        (a.log_joint, b.log_joint),
        (a.running_evidence, b.running_evidence),
    ):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert_log_close(one, other.double(), tolerance)
