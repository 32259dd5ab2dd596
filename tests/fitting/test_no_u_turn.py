"""Chains reach the posterior, can be stopped anywhere, and say what they did."""

import numpy as np
import pytest
import torch

from concept_ppl import fit, simulate
from concept_ppl.fitting.algorithms.checkpoints import Checkpoint
from concept_ppl.fitting.algorithms.no_u_turn import Sampler

from .programs import exchangeable, mixture

CORRELATED = np.array([[2.0, 0.9], [0.9, 0.5]])


def gaussian(covariance, mean):
    precision = np.linalg.inv(covariance)

    def density(position):
        difference = position - mean
        return -0.5 * float(difference @ precision @ difference), -precision @ difference

    return density


def sampled(density, n_free, warmup=300, draws=4000, seed=0):
    sampler = Sampler(np.zeros(n_free), warmup, 0.8, 10, seed)
    found = []
    for iteration in range(warmup + draws):
        sampler.step(density)
        if iteration >= warmup:
            found.append(sampler.position)
    return np.array(found)


def test_draws_have_the_moments_of_the_target():
    mean = np.array([1.0, -3.0])
    draws = sampled(gaussian(CORRELATED, mean), 2)
    # Some 1,500 effective draws or more: five standard errors.
    np.testing.assert_allclose(draws.mean(0), mean, atol=5 * np.sqrt(2 / 1500))
    np.testing.assert_allclose(np.cov(draws.T), CORRELATED, atol=5 * 2 * np.sqrt(2 / 1500))


def test_a_skewed_target_keeps_its_quantiles():
    def log_gamma(position):  # the logarithm of a Gamma(3) variable
        return float(3 * position[0] - np.exp(position[0])), 3 - np.exp(position)

    draws = np.exp(sampled(log_gamma, 1)[:, 0])
    below = [(draws < q).mean() for q in (1.727, 2.674, 3.920)]  # quartiles of Gamma(3)
    np.testing.assert_allclose(below, [0.25, 0.5, 0.75], atol=0.06)


def test_the_same_seed_gives_the_same_draws():
    density = gaussian(CORRELATED, np.zeros(2))
    one, other = (sampled(density, 2, draws=20, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, sampled(density, 2, draws=20, seed=4))


def test_a_chain_that_was_stored_makes_the_draws_that_it_would_have_made(tmp_path):
    density = gaussian(CORRELATED, np.zeros(2))
    for stop in (7, 60):  # while it adapts, and after
        sampler = Sampler(np.zeros(2), 40, 0.8, 10, 5)
        for _ in range(stop):
            sampler.step(density)
        file = Checkpoint(tmp_path / f"{stop}", "this chain")
        file.save(sampler.state, now=True)
        torch.rand(3)  # nobody else's random numbers matter
        whole = [sampler.step(density) for _ in range(60)]
        resumed = Sampler(np.ones(2), 40, 0.8, 10, 6)
        resumed.restore(file.load())
        assert [resumed.step(density) for _ in range(60)] == whole
        np.testing.assert_array_equal(resumed.position, sampler.position)
        np.testing.assert_array_equal(resumed.inverse_mass, sampler.inverse_mass)


def test_sampling_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    Sampler(np.zeros(2), 10, 0.8, 10, 1).step(gaussian(CORRELATED, np.zeros(2)))
    assert torch.equal(torch.rand(2), expected)


def test_what_is_said_of_an_iteration_is_what_it_did():
    precision = np.linalg.inv(CORRELATED)
    calls = []

    def density(position):
        calls.append(position)
        return gaussian(CORRELATED, np.zeros(2))(position)

    sampler = Sampler(np.ones(2), 100, 0.8, 10, 2)
    rates = []
    for iteration in range(300):
        before, start = len(calls), sampler.position
        told = sampler.step(density)
        if iteration:
            assert told.n_steps == len(calls) - before
            assert 2 ** (told.tree_depth - 1) <= told.n_steps < 2**told.tree_depth
            assert told.energy >= 0.5 * start @ precision @ start - 1e-12
        assert 0 <= told.acceptance_rate <= 1 + 1e-12
        assert sampler.log_density == pytest.approx(density(sampler.position)[0])
        if iteration >= 100:
            rates.append(told.acceptance_rate)
    assert np.mean(rates) == pytest.approx(0.8, abs=0.15)
    np.testing.assert_allclose(sampler.inverse_mass, np.diag(CORRELATED), rtol=1)


def test_a_trajectory_that_leaves_the_typical_set_is_called_divergent():
    def cliff(position):
        inside = bool(np.abs(position).max() < 1)
        return (0.0 if inside else -1e6), np.zeros_like(position)

    sampler = Sampler(np.zeros(2), 0, 0.8, 8, 0)
    told = [sampler.step(cliff) for _ in range(20)]
    assert any(one.diverging for one in told)
    assert np.abs(sampler.position).max() < 1


def test_where_all_concepts_are_known_the_posterior_is_dirichlet():
    truth = {
        "share": np.array([0.6, 0.4]),
        "emission": np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]),
    }
    table = simulate(mixture, 40, lengths=4, values=truth, seed=0)
    kinds = table["kind"].astype(int).to_numpy()
    found = fit(
        mixture, table, "nuts", given={"kind": kinds}, chains=2, warmup=150, draws=400, seed=1
    )
    counts = np.zeros((2, 3))
    for row, kind in zip(table["x"], kinds, strict=True):
        np.add.at(counts[kind], row, 1)
    alpha = counts + np.array([[3, 1, 1], [1, 2, 3]])
    total = alpha.sum(1, keepdims=True)
    mean, spread = alpha / total, np.sqrt(alpha * (total - alpha) / total**2 / (total + 1))
    draws = found.draws["emission"].reshape(-1, 2, 3)
    assert (np.abs(draws.mean(0) - mean) < 5 * spread / np.sqrt(300)).all()
    np.testing.assert_allclose(draws.std(0), spread, rtol=0.2)
    assert found.sample_stats["tree_depth"].shape == (2, 400)
    assert found.log_likelihood.shape == (2, 400, 40)


def test_chains_that_chose_other_names_are_matched_and_it_is_said():
    truth = {
        "share": np.array([0.5, 0.3, 0.2]),
        "emission": np.array(
            [[0.85, 0.05, 0.05, 0.05], [0.05, 0.85, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]]
        ),
    }
    table = simulate(exchangeable, 150, lengths=6, values=truth, seed=0)
    found = fit(exchangeable, table, "nuts", chains=3, warmup=100, draws=60, seed=0)
    assert found.switched["kind"] > 0
    assert "Labels of 'kind' were matched" in found.summary()
    raw, matched = found.draws["emission"].mean(1), found.matched["emission"].mean(1)
    assert np.ptp(raw, axis=0).max() > 0.5
    assert np.ptp(matched, axis=0).max() < 0.1
    order = found.matches["kind"][2, 10]
    np.testing.assert_allclose(
        found.draws["share"][2, 10][order], found.matched["share"][2, 10], rtol=1e-12
    )


@pytest.mark.slow
def test_ranks_of_true_parameters_are_uniform():
    """A small version of benchmarks/simulation_calibration.py: 60 data sets, coarse ranks."""
    from scipy import stats

    rng = np.random.default_rng(0)
    ranks = []
    for seed in range(60):
        truth = {
            "share": rng.dirichlet([4, 2]),
            "emission": np.stack([rng.dirichlet(row) for row in ([3, 1, 1], [1, 2, 3])]),
        }
        table = simulate(mixture, 15, lengths=3, values=truth, seed=seed)
        found = fit(
            mixture,
            table[["x"]],
            "nuts",
            chains=1,
            warmup=100,
            draws=57,
            seed=seed,
            log_likelihood=False,
        )
        thinned = found.draws["emission"][0, 2::3, 0, 0]
        ranks.append(int((thinned < truth["emission"][0, 0]).sum()))
    counts = np.bincount(np.array(ranks) // 5, minlength=4)
    assert stats.chisquare(counts).pvalue > 1e-3
