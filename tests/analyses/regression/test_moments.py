"""Streaming answers what fitting in memory answers, in any chunks, from any file."""

from functools import partial

import numpy as np
import pytest
from safetensors.numpy import save_file

from concept_ppl.analyses import Rows, linear_map, stream_linear_map
from concept_ppl.analyses.regression import stored_rows
from concept_ppl.errors import InputError

RELATIVE = 1e-10


def sample(n=500, q=4, d=9, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, q))
    F = Z @ rng.normal(size=(q, d)) + rng.normal(size=(n, d)) * (1 + np.abs(Z[:, :1])) + offset
    return F, Z, rng.uniform(0.1, 4.0, n)


def assert_same(streamed, direct, rtol=RELATIVE):
    np.testing.assert_allclose(streamed.coefficients, direct.coefficients, rtol=rtol)
    for name in ("std_errors", "ci_low", "ci_high", "df"):
        found, expected = (getattr(x.inference, name) for x in (streamed, direct))
        np.testing.assert_allclose(found, expected, rtol=rtol)
    np.testing.assert_allclose(streamed.r_squared, direct.r_squared, rtol=rtol)
    for one, other in zip(streamed.per_output, direct.per_output, strict=True):
        assert one.statistic == pytest.approx(other.statistic, rel=rtol)
    assert (streamed.n, streamed.regressors, streamed.outputs) == (
        direct.n,
        direct.regressors,
        direct.outputs,
    )


@pytest.mark.parametrize("rows", [1, 7, 128, 10_000])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_chunks_of_any_size_give_the_answer_in_memory(rows, direction):
    F, Z, weights = sample()
    chunks = stored_rows(F, Z, weights=weights, rows=rows)
    assert_same(
        stream_linear_map(chunks, direction=direction),
        linear_map(F, Z, weights=weights, direction=direction),
    )


def test_large_means_cost_no_digits():
    F, Z, _ = sample(offset=1e4)
    moved = Z + 1e6
    streamed = stream_linear_map(stored_rows(F, moved, rows=64))
    direct = linear_map(F, Z)
    # Rounding Z + 1e6 itself moves the slopes by about 1e-10.
    np.testing.assert_allclose(streamed.coefficients[1:], direct.coefficients[1:], rtol=1e-8)
    np.testing.assert_allclose(streamed.std_errors[1:], direct.std_errors[1:], rtol=1e-8)


def test_files_give_what_their_arrays_give(tmp_path):
    F, Z, _ = (values.astype(np.float32) for values in sample())
    np.save(tmp_path / "F.npy", F)
    np.save(tmp_path / "Z.npy", Z)
    save_file({"resid.3": F}, tmp_path / "F.safetensors")
    direct = linear_map(F, Z)
    for name in ("F.npy", "F.safetensors"):
        chunks = stored_rows(tmp_path / name, tmp_path / "Z.npy", tensor="resid.3", rows=99)
        assert_same(stream_linear_map(chunks), direct)


def test_what_streaming_cannot_answer_is_invalid_with_a_reason():
    F, Z, _ = sample()
    joint = stream_linear_map(stored_rows(F, Z)).joint
    assert joint.invalid_because.startswith("the covariance between outputs is not kept")


def test_nearly_collinear_regressors_are_refused_with_their_condition_number():
    F, Z, _ = sample()
    noise = np.random.default_rng(1).normal(size=500)
    for scale, refused in ((1e-5, False), (1e-9, True)):
        near = np.column_stack([Z, Z[:, 0] + scale * noise])
        stream = partial(stream_linear_map, stored_rows(F, near, rows=50))
        if not refused:
            assert_same(stream(), linear_map(F, near), rtol=1e-6)
            continue
        with pytest.raises(InputError, match=r"condition number is .*; leave some out"):
            stream()
    with pytest.raises(InputError, match="Regressor z5 is zero in every row"):
        stream_linear_map(stored_rows(F, np.column_stack([Z, np.zeros(500)])))


def test_bad_rows_are_named_by_their_place_in_the_stream(tmp_path):
    F, Z, weights = sample()
    alone = np.column_stack([Z, np.arange(500) == 333])
    with pytest.raises(InputError, match=r"Row 333 has leverage 1"):
        stream_linear_map(stored_rows(F, alone, rows=100))
    weights[450] = 0.0
    with pytest.raises(InputError, match=r"weights holds 0.0 at row 450"):
        stream_linear_map(stored_rows(F, Z, weights=weights, rows=100))
    F[210, 2] = np.nan
    with pytest.raises(InputError, match=r"F from row 200 on holds nan at row 10, column 2"):
        stream_linear_map(stored_rows(F, Z, rows=100))


def test_passes_that_differ_and_empty_streams_are_refused():
    F, Z, _ = sample()
    passes = iter([[Rows(F, Z)], [Rows(F[:400], Z[:400])]])
    with pytest.raises(InputError, match="The second pass gave 400 rows, the first 500"):
        stream_linear_map(lambda: next(passes))
    with pytest.raises(InputError, match="There are no rows"):
        stream_linear_map(list)
    with pytest.raises(InputError, match="From row 500 on, F and Z have 8 and 4 columns"):
        stream_linear_map(lambda: [Rows(F, Z), Rows(F[:, :8], Z)])
    with pytest.raises(InputError, match="5 rows are too few for 5 coefficients"):
        stream_linear_map(stored_rows(F[:5], Z[:5]))


def test_bad_files_are_refused_by_name(tmp_path):
    F, Z, _ = sample()
    (tmp_path / "F.csv").write_text("1,2\n")
    with pytest.raises(InputError, match=r"F.csv is neither a .npy nor a .safetensors file"):
        stored_rows(tmp_path / "F.csv", Z)
    with pytest.raises(InputError, match=r"F: .*missing.npy cannot be read"):
        stored_rows(tmp_path / "missing.npy", Z)
    save_file({"resid.3": F}, tmp_path / "F.safetensors")
    with pytest.raises(InputError, match=r"F: .*F.safetensors cannot be read"):
        stored_rows(tmp_path / "F.safetensors", Z, tensor="resid.4")
    with pytest.raises(InputError, match="Z has 499 rows, F has 500"):
        stored_rows(F, Z[1:])
