"""Least squares keeps the digits that NIST certifies, in memory and streamed."""

import importlib.util
from pathlib import Path

import mpmath
import numpy as np
import pytest

from concept_ppl.analyses import linear_map, stream_linear_map
from concept_ppl.analyses.covariance.sandwich import least_squares
from concept_ppl.analyses.regression import stored_rows
from concept_ppl.errors import InputError

spec = importlib.util.spec_from_file_location("nist", Path(__file__).with_name("nist.py"))
nist = importlib.util.module_from_spec(spec)
spec.loader.exec_module(nist)

DIGITS = {
    "Norris": 12,
    "Pontius": 11,
    "Longley": 11,
    "Filip": 6,
    "Wampler1": 9,
    "Wampler2": 9,
    "Wampler3": 9,
    "Wampler4": 9,
    "Wampler5": 7,
}


def digits(found, certified):
    """Smallest number of digits that agree, absolute where the certified value is zero."""
    certified = np.array(certified, dtype=np.float64)
    scale = np.where(certified == 0.0, 1.0, np.abs(certified))
    error = np.abs(np.asarray(found) - certified) / scale
    return float(-np.log10(np.maximum(error, 1e-16)).min())


def fitted(reference):
    X = np.column_stack([np.ones(len(reference.y)), reference.regressors])
    names = [f"x{i}" for i in range(X.shape[1])]
    fit = least_squares(X, reference.output, np.ones(len(X)), names)
    sd = np.linalg.norm(fit.residuals) / np.sqrt(X.shape[0] - X.shape[1])
    return fit.coefficients[:, 0], sd * np.linalg.norm(fit.unscaled, axis=1), sd


@pytest.mark.parametrize("name", nist.ALL)
def test_the_data_written_down_reproduce_the_certificate_exactly(name):
    reference = nist.ALL[name]
    with mpmath.workdps(60):
        X = mpmath.matrix([["1", *row] for row in reference.X])
        y = mpmath.matrix(reference.y)
        gram = X.T * X
        coefficients = mpmath.lu_solve(gram, X.T * y)
        residuals = y - X * coefficients
        variance = (residuals.T * residuals)[0] / (X.rows - X.cols)
        inverse = gram**-1
        found = [*coefficients, *(mpmath.sqrt(variance * inverse[i, i]) for i in range(X.cols))]
        certified = [*reference.coefficients, *reference.std_errors]
        for value, text in zip(found, certified, strict=True):
            expected = mpmath.mpf(text)
            # NIST prints 15 digits.
            assert abs(value - expected) <= mpmath.mpf("1e-14") * abs(expected) + mpmath.mpf(
                "1e-40"
            )
        expected = mpmath.mpf(reference.residual_sd)
        assert abs(mpmath.sqrt(variance) - expected) <= mpmath.mpf("1e-14") * expected + 1e-20


@pytest.mark.parametrize("name", nist.ALL)
def test_coefficients_and_standard_errors_keep_their_digits(name):
    reference = nist.ALL[name]
    coefficients, std_errors, sd = fitted(reference)
    assert digits(coefficients, reference.coefficients) >= DIGITS[name]
    assert digits(sd, reference.residual_sd) >= DIGITS[name]
    assert digits(std_errors, reference.std_errors) >= min(DIGITS[name], 7)


@pytest.mark.parametrize("name", [name for name in nist.ALL if name != "Filip"])
def test_streaming_keeps_them_too(name):
    reference = nist.ALL[name]
    chunks = stored_rows(reference.output, reference.regressors, rows=5)
    found = stream_linear_map(chunks).coefficients[:, 0]
    assert digits(found, reference.coefficients) >= min(DIGITS[name], 9)


def test_the_door_refuses_filip_and_says_why():
    with pytest.raises(InputError, match="columns of Z are collinear"):
        linear_map(nist.FILIP.output, nist.FILIP.regressors)
    with pytest.raises(InputError, match=r"condition number is 5\..e\+09, more than 1e\+08"):
        stream_linear_map(stored_rows(nist.FILIP.output, nist.FILIP.regressors))
