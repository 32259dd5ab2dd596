"""Wide states answer as narrow ones do: bands for eigenvectors, blocks of rows for the whole."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from concept_ppl.analyses import (
    canonical_correlations,
    decompose_states,
    equivalence,
    goodness_of_fit,
    invertibility,
    layer_curve,
    linearity,
)
from concept_ppl.analyses.agreement.forward_errors import forward_errors
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.decomposition import decompose
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.analyses.designs.ridge import (
    GramBand,
    KernelBand,
    Spectrum,
    StateRows,
    band_matrix,
    lower_matrices,
    state_rows,
)
from concept_ppl.analyses.designs.ridge.band_matrix import reduce_to_band
from concept_ppl.analyses.designs.ridge.lower_matrices import lower_matrix
from concept_ppl.analyses.designs.ridge.one_thread_each import each
from concept_ppl.errors import InputError

ANALYSES = (goodness_of_fit, canonical_correlations, equivalence, invertibility, linearity)


@pytest.fixture
def as_if_wide(monkeypatch):
    """Call states wide from 11 coordinates on, and large from a thousand numbers on."""
    monkeypatch.setattr(lower_matrices, "NARROW", 10)
    monkeypatch.setattr(lower_matrices, "BLOCK_ROWS", 16)
    monkeypatch.setattr(band_matrix, "HALF_WIDTH", 4)
    monkeypatch.setattr(state_rows, "KEPT_AS_THEY_ARE", 1_000)


def planted(n, d, q=3, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, q)) @ (np.eye(q) + 0.4)
    F = Z @ rng.normal(size=(q, d)) + rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5 + 3.0
    return F, Z, rng.uniform(0.5, 2.0, size=n), rng.integers(0, n // 2, size=n)


def numbers(F, Z, analyses=ANALYSES, **design):
    states = decompose_states(F, **design)
    return pd.concat([analysis(states, Z).tidy() for analysis in analyses], ignore_index=True)


@pytest.mark.parametrize(
    ("n", "d", "kinds", "analyses"),
    [
        pytest.param(160, 24, {GramBand}, ANALYSES, id="primal", marks=pytest.mark.slow),
        pytest.param(80, 60, {GramBand, KernelBand}, ANALYSES[:-1], id="both"),
        pytest.param(75, 140, {KernelBand}, ANALYSES, id="dual", marks=pytest.mark.slow),
    ],
)
def test_all_numbers_of_wide_states_are_those_by_eigenvectors(request, n, d, kinds, analyses):
    F, Z, weights, clusters = planted(n, d, seed=n)
    design = {"weights": weights, "clusters": clusters}
    by_eigenvectors = numbers(F, Z, analyses, **design)
    assert {type(side) for side in decompose_states(F).spectra.values()} == {Spectrum}
    request.getfixturevalue("as_if_wide")
    assert {type(side) for side in decompose_states(F).spectra.values()} == kinds
    wide = numbers(F, Z, analyses, **design)
    pd.testing.assert_frame_equal(wide, by_eigenvectors, rtol=1e-7, atol=1e-8)


def test_layers_of_wide_states_keep_their_numbers(request):
    F, Z, _, _ = planted(90, 70)
    narrow = layer_curve({"0": F, "1": F[:, ::2]}, Z).tidy()
    request.getfixturevalue("as_if_wide")
    wide = layer_curve({"0": F, "1": F[:, ::2]}, Z).tidy()
    pd.testing.assert_frame_equal(wide, narrow, rtol=1e-7, atol=1e-8)


def test_half_precision_on_the_disk_is_read_in_blocks_and_nowhere_whole(
    as_if_wide, monkeypatch, tmp_path
):
    F, Z, _, _ = planted(150, 30)
    np.save(tmp_path / "F.npy", F.astype(np.float16))
    analyses = (canonical_correlations, equivalence)
    expected = numbers(F.astype(np.float16).astype(np.float64), Z, analyses)
    most = []
    take = StateRows.take
    monkeypatch.setattr(state_rows, "BLOCK", 40 * 30)
    monkeypatch.setattr(StateRows, "take", lambda *given: most.append(take(*given)) or most[-1])
    monkeypatch.setattr(StateRows, "whole", None)
    stored = np.load(tmp_path / "F.npy", mmap_mode="r")
    assert decompose_states(stored).rows.source is stored
    pd.testing.assert_frame_equal(numbers(stored, Z, analyses), expected, rtol=1e-7, atol=1e-8)
    assert max(block.shape[0] for block in most if block.shape[1] == 30) <= 40


def test_what_is_wrong_in_stored_states_is_named_by_row_and_column(as_if_wide):
    F = np.ones((60, 30), np.float16)
    with pytest.raises(InputError, match="F does not vary"):
        decompose_states(F)
    F[41, 7] = np.nan
    F[50, 0] = np.inf
    with pytest.raises(InputError, match=r"F holds nan at row 41, column 7 \(2 such entries\)"):
        decompose_states(F)


def test_states_that_vary_in_too_few_directions_are_refused(as_if_wide):
    F, Z, _, _ = planted(120, 2)
    flat = F @ np.random.default_rng(0).normal(size=(2, 40))
    with pytest.raises(InputError, match="vary in 2 directions"):
        canonical_correlations(flat, Z)


@pytest.mark.parametrize("d", [5, 16, 37, 64])
@pytest.mark.parametrize("rank", [3, 64])
def test_a_band_is_the_matrix_turned(monkeypatch, d, rank):
    monkeypatch.setattr(lower_matrices, "NARROW", 2)
    monkeypatch.setattr(lower_matrices, "BLOCK_ROWS", 16)
    monkeypatch.setattr(band_matrix, "HALF_WIDTH", 4)
    rng = np.random.default_rng(d)
    X = rng.normal(size=(d, min(d, rank)))
    A, x = X @ X.T, rng.normal(size=(d, 2))
    turned = reduce_to_band(lower_matrix(d, lambda rows: A[rows, : rows.stop].copy()))
    values, vectors = turned.eigenvectors()
    np.testing.assert_allclose((vectors * values) @ vectors.T, A, atol=1e-12 * np.trace(A))
    penalties = np.array([1e-2, 1.0])
    solved = turned.solve(turned.to_band(x), penalties)
    for i, penalty in enumerate(penalties):
        expected = np.linalg.solve(A + penalty * np.eye(d), x)
        np.testing.assert_allclose(turned.from_band(solved[:, i]), expected, rtol=1e-8, atol=1e-8)
    largest = turned.leading(2)[0]
    np.testing.assert_allclose(largest, np.linalg.eigvalsh(A)[-2:], rtol=1e-12)


def test_a_matrix_of_zeros_is_a_band_of_zeros(as_if_wide):
    turned = reduce_to_band(lower_matrix(20, lambda rows: np.zeros((20, 20))[rows, : rows.stop]))
    assert not turned.band.any()
    assert not turned.leading(2)[0].any()


@pytest.mark.parametrize("noise", [1.0, 1e-6])
def test_forward_errors_are_those_of_each_coordinate_added_up(noise):
    F, Z, weights, clusters = planted(70, 12)
    F = noise * F + Z @ np.random.default_rng(1).normal(size=(3, 12))
    states = decompose_states(F, weights=weights, clusters=clusters)
    contrasts = decompose(Z, states.design)
    found = forward_errors(contrasts, states.rows)
    expected = squared_errors(cross_fit(contrasts, states.F))
    for name in ("sse", "sst", "sse_training", "sst_training"):
        total = getattr(expected, name).sum(axis=1)
        np.testing.assert_allclose(
            getattr(found, name)[:, 0], total, rtol=1e-6, atol=1e-9 * np.abs(total).max()
        )


def test_tasks_beside_each_other_keep_their_order_and_give_threads_back():
    def threads():
        return [library["num_threads"] for library in threadpool_info()]

    with threadpool_limits(2):
        before = threads()
        inside = each(lambda i: (i, max(threads_of_blas())), range(5))
        assert threads() == before
    assert inside == [(i, 1) for i in range(5)]


def threads_of_blas():
    found = threadpool_info()
    return [library["num_threads"] for library in found if library["user_api"] == "blas"]
