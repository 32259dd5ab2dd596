"""How much does a nonlinear map gain over the affine one, both fitted on the same training folds?

The rival is ridge regression on the inputs of the affine map *and* on random Fourier features of
them, which together approximate a Gaussian kernel (Rahimi and Recht 2007, NeurIPS 20). Each block
has its own penalty, tuned inside the training folds, so that the affine map is a special case of
its rival, and the gain is close to zero where nothing bends.

States too wide for a kernel are reduced first. For each outer fold that is done by maps that never
saw it, and rows of the training folds are decoded by maps that saw neither the outer fold nor
their own; otherwise overfitted directions would look straighter in training than in testing.
"""

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.designs.blocks import joint_predictions
from concept_ppl.analyses.designs.cross_fits import cross_fit, regressands, whitener
from concept_ppl.analyses.designs.decomposition import DecomposedStates, decompose
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.ridge.one_thread_each import each
from concept_ppl.analyses.designs.shares import difference
from concept_ppl.analyses.designs.training_moments import HeldOut, training_moments
from concept_ppl.analyses.results.rows import Estimate

N_FEATURES = 128
MOST_COMPONENTS = 24
ROWS_PER_COMPONENT = 20


def forward_gain(
    states: DecomposedStates, Z: FloatArray, decoded: FloatArray, seed: int, level: float
) -> Estimate:
    """Gain in held-out R² when canonical directions of F are predicted from Z.

    Parameters
    ----------
    states, Z
        Decomposed states, and contrasts (n, q) that were checked.
    decoded
        (K, n, q) of `nested_directions`.
    seed
        Of the random features.
    level
        Confidence level.
    """
    design = states.design
    outputs = np.array(
        [part @ whitener(part, design, (k,)) for k, part in enumerate(decoded)], dtype=np.float64
    )
    inputs = np.array([Z @ whitener(Z, design, (k,)) for k in range(design.n_folds)])
    return _gain(inputs, outputs, design, seed, level)


def backward_gain(
    states: DecomposedStates, Z: FloatArray, decoded: FloatArray, seed: int, level: float
) -> Estimate:
    """Gain in held-out R² when Z, whitened, is predicted from F: parameters as `forward_gain`.

    F is given by its canonical directions, whitened, and by its leading principal components, all
    divided by the standard deviation of the first, so that weak ones bend little.
    """
    design = states.design
    count = min(MOST_COMPONENTS, max(1, design.n // ROWS_PER_COMPONENT))
    components = _principal_components(states, count)
    inputs = [
        np.hstack([part @ whitener(part, design, (k,)), components[k]])
        for k, part in enumerate(decoded)
    ]
    outputs = np.array([Z @ whitener(Z, design, (k,)) for k in range(design.n_folds)])
    return _gain(np.array(inputs), outputs, design, seed, level)


def nested_directions(states: DecomposedStates, Z: FloatArray) -> FloatArray:
    """Whitened contrasts as decoded from F, (K, n, q), for each outer fold k.

    Rows of fold k are decoded by the map trained on all other folds, rows of any other fold j by
    the map trained without j and k.
    """
    design = states.design
    fit, moments = cross_fit(states, Z, whiten=True), training_moments(states.rows, Z, design)
    decoded = np.empty((design.n_folds, *Z.shape))

    def maps(held_out: HeldOut) -> FloatArray:
        side, targets = states.spectra[held_out], regressands(states, Z, moments, held_out)
        penalties = fit.penalties[list(held_out)] * side.top
        return side.slopes(side.scores(targets), penalties)

    slopes = dict(zip(states.spectra, states.each(maps, states.spectra), strict=True))

    def decode(j: int) -> None:
        """Rows of fold j, as they look to each outer fold, in one pass over them."""
        seen = [(k,) if k == j else (min(j, k), max(j, k)) for k in range(design.n_folds)]
        chosen = [slopes[out][:, out.index(k)] for k, out in enumerate(seen)]
        rows = design.members[j]
        products = np.split(states.rows.times(np.hstack(chosen), rows), design.n_folds, axis=1)
        for k, (out, product) in enumerate(zip(seen, products, strict=True)):
            decoded[k, rows] = product - states.spectra[out].mean @ chosen[k]

    states.each(decode, range(design.n_folds))
    for k, part in enumerate(decoded):
        part[:] = part @ whitener(Z, design, (k,))
    return decoded


def _principal_components(states: DecomposedStates, count: int) -> list[FloatArray]:
    """Leading components (n, ≤ count) of each fold's training rows, the first with variance 1.

    The sign of an eigenvector is arbitrary; it is taken so that the longest score is positive.
    """
    design, folds = states.design, range(states.design.n_folds)
    leading = states.each(lambda k: states.spectra[k,].leading(count)[1][:, ::-1], folds)
    found = []
    for k, product in enumerate(states.times(leading)):
        side, scores = states.spectra[k,], product - states.spectra[k,].mean @ leading[k]
        longest = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
        mass = float(design.weights[design.folds != k].sum())
        found.append(scores * np.sign(longest) / np.sqrt(side.top / mass))
    return found


def _gain(
    inputs: FloatArray, outputs: FloatArray, design: Design, seed: int, level: float
) -> Estimate:
    """R² of affine and Fourier features together minus that of the affine map alone.

    Parameters
    ----------
    inputs, outputs
        (K, n, p) and (K, n, t), as they look to each outer fold.
    """
    gain, spread = np.empty(design.n), np.empty(design.n)

    def compare(k: int) -> None:
        rows, X, Y = design.members[k], inputs[k], outputs[k]
        straight = decompose(X, design)
        affine = cross_fit(straight, Y)
        bent = decompose(_fourier_features(X, seed), design, tested=k)
        rival = joint_predictions(straight, bent, Y, {k: float(affine.penalties[k])})[k]
        error = np.square(Y[rows] - affine.predicted[rows]).sum(axis=1)
        gain[rows] = error - np.square(Y[rows] - rival).sum(axis=1)
        spread[rows] = np.square(Y[rows] - affine.baseline[rows]).sum(axis=1)

    each(compare, range(design.n_folds))
    return difference(gain, spread, design, level)


def _fourier_features(X: FloatArray, seed: int) -> FloatArray:
    """Random features (n, 128) of a Gaussian kernel as wide as two rows are apart on average."""
    from sklearn.kernel_approximation import RBFSampler

    gamma = 1.0 / (2.0 * float(np.square(X).sum(axis=1).mean()))
    sampler = RBFSampler(gamma=gamma, n_components=N_FEATURES, random_state=seed)
    return np.asarray(sampler.fit_transform(X), dtype=np.float64)
