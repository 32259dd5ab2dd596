"""Arrays of any library come in as float64; what is no real matrix is refused by name."""

import numpy as np
import pandas as pd
import pytest
import torch

from concept_ppl.analyses import goodness_of_fit
from concept_ppl.analyses.designs.arrays import as_matrix, check_contrasts, column_names
from concept_ppl.analyses.designs.design import cluster_codes, make_design
from concept_ppl.errors import InputError

VALUES = [[0.5, 1.0], [2.0, -3.0], [0.25, 8.0]]


def test_every_library_gives_the_same_matrix(tmp_path):
    np.save(tmp_path / "states.npy", np.array(VALUES, np.float32))
    kinds = [
        VALUES,
        np.array(VALUES, np.float16),
        pd.DataFrame(VALUES),
        torch.tensor(VALUES, requires_grad=True),
        torch.tensor(VALUES, dtype=torch.bfloat16),
        np.load(tmp_path / "states.npy", mmap_mode="r"),
    ]
    for values in kinds:
        matrix = as_matrix(values, "F")
        assert matrix.dtype == np.float64
        np.testing.assert_array_equal(matrix, VALUES)


@pytest.mark.parametrize("values", [np.array(VALUES) * 1j, torch.tensor(VALUES) * 1j])
def test_complex_numbers_are_refused_not_cast(values):
    with pytest.raises(InputError, match="F is complex"):
        as_matrix(values, "F")


def test_levels_of_a_name_are_joined_by_a_point():
    frame = pd.DataFrame(VALUES, columns=pd.MultiIndex.from_tuples([("p", "mood"), ("p", "topic")]))
    assert column_names(frame, "z", 2) == ("p.mood", "p.topic")
    assert column_names(np.array(VALUES), "z", 2) == ("z1", "z2")


@pytest.mark.parametrize("missing", [float("nan"), None])
def test_a_missing_label_is_no_cluster(missing):
    with pytest.raises(InputError, match=r"no label at row 1 \(1 such rows\)"):
        cluster_codes(["a", missing, "b"], 3)
    with pytest.raises(InputError, match="no label"):
        make_design(3, clusters=[1.0, np.nan, 2.0])


@pytest.mark.parametrize("mean", [1e4, 1e8, 1e12])
def test_a_column_that_varies_beside_a_large_mean_is_not_constant(mean):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(80, 3))
    Z = F[:, :2] + 0.3 * rng.normal(size=(80, 2))
    contrasts, _ = check_contrasts(Z + mean, 80)
    assert contrasts.shape == (80, 2)
    plain, moved = goodness_of_fit(F, Z).backward, goodness_of_fit(F, Z + mean).backward
    assert moved.estimate == pytest.approx(plain.estimate, abs=1e-3)


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, 1e-8 / 3])
def test_a_column_that_does_not_vary_is_constant_whatever_its_size(value):
    Z = np.column_stack([np.random.default_rng(0).normal(size=90), np.full(90, value)])
    with pytest.raises(InputError, match=r"Column 1 of Z .z2. is constant"):
        check_contrasts(Z, 90)
