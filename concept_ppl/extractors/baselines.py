"""What needs no dictionary learning: PCA, ICA, random directions, the states' own coordinates."""

import warnings

import numpy as np
from numpy.typing import NDArray

from concept_ppl.errors import InputError

from .dictionary import Array, Dictionary, blocks_of

LEAST_VARIANCE = 1e-10
ICA_ROWS = 50_000
"""Independent components are estimated on so many rows at most: more change little."""


def coordinates(width: int) -> Dictionary:
    """Return the states' own coordinates as features."""
    eye, zero = np.eye(width, dtype=np.float32), np.zeros(width, np.float32)
    return Dictionary(eye, zero, eye, zero, zero, said={"kind": "coordinates"})


def principal_components(states: NDArray[np.floating], n_features: int) -> Dictionary:
    """Return the leading principal components of states (n, d), in one pass over the rows.

    Raises
    ------
    InputError
        If the states vary in fewer directions.
    """
    mean, values, vectors = _moments(states)
    kept = int((values > LEAST_VARIANCE * values[-1]).sum())
    if not 1 <= n_features <= kept:
        raise InputError(f"the states vary in {kept} directions; give 1 to {kept} components.")
    W = np.ascontiguousarray(vectors[:, ::-1][:, :n_features], np.float32)
    return _linear(W, W.T, mean, {"kind": "PCA"})


def independent_components(
    states: NDArray[np.floating], n_features: int, *, seed: int = 0
) -> Dictionary:
    """Return independent components by FastICA (Hyvärinen and Oja 2000) of scikit-learn.

    On at most ``ICA_ROWS`` rows that are drawn from the seed.

    Raises
    ------
    InputError
        If the states vary in fewer directions, or the iteration does not converge.
    """
    from sklearn.decomposition import FastICA  # noqa: PLC0415 (a second, and only here)
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    rows = np.arange(len(states))
    if len(rows) > ICA_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, ICA_ROWS, replace=False))
    own = np.asarray(states[rows], np.float64)
    principal_components(own, n_features)  # says how many there can be
    ica = FastICA(n_features, whiten="unit-variance", max_iter=1000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            ica.fit(own)
        except ConvergenceWarning as error:
            raise InputError(
                f"FastICA does not converge with {n_features} components; give fewer."
            ) from error
    return _linear(
        np.ascontiguousarray(ica.components_.T, np.float32),
        np.ascontiguousarray(ica.mixing_.T, np.float32),
        ica.mean_.astype(np.float32),
        {"kind": "ICA", "seed": seed},
    )


def random_dictionary(
    states: NDArray[np.floating], n_features: int, *, k: int = 0, seed: int = 0
) -> Dictionary:
    """Return random unit directions, of which a context keeps the k that fit it best, or all.

    The control of a dictionary that was learned: the same number of features, as many of them
    active, directions that nobody chose.

    Parameters
    ----------
    states
        (n, d), for their mean and mean square.
    n_features, k
        How many directions; how many are active in a context, 0 for all.
    seed
        Of the directions.
    """
    mean, values, _ = _moments(states)
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(len(mean), n_features)).astype(np.float32)
    W /= np.linalg.norm(W, axis=0)
    zeros = np.zeros(n_features, np.float32)
    return Dictionary(
        W,
        zeros,
        np.ascontiguousarray(W.T),
        mean / _scale(values),
        mean,
        _scale(values),
        activation="topk" if k else "identity",
        k=k,
        said={"kind": "random", "seed": seed},
    )


def _linear(W: Array, V: Array, mean: Array, said: dict[str, object]) -> Dictionary:
    zeros = np.zeros(W.shape[1], np.float32)
    return Dictionary(W, zeros, np.ascontiguousarray(V), mean, mean, said=said)


def _moments(
    states: NDArray[np.floating],
) -> tuple[Array, NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,), ascending variances and their directions (d, d), in one pass."""
    total = np.zeros(states.shape[1])
    gram = np.zeros((states.shape[1],) * 2)
    first = np.asarray(states[0], np.float64)
    for block in blocks_of(states):
        left = block - first
        total += left.sum(axis=0)
        gram += left.T @ left
    mean = total / len(states)
    values, vectors = np.linalg.eigh(gram / len(states) - np.outer(mean, mean))
    return (mean + first).astype(np.float32), np.maximum(values, 0.0), vectors


def _scale(values: NDArray[np.float64]) -> float:
    """Root mean square of a state about the mean, over coordinates; 1 where nothing varies."""
    return float(np.sqrt(values.mean())) or 1.0


def centre_and_scale(states: NDArray[np.floating]) -> tuple[Array, float]:
    """Mean (d,) and root mean square per coordinate of states (n, d), in one pass."""
    mean, values, _ = _moments(states)
    return mean, _scale(values)
