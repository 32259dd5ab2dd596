"""How often do intervals for word pairs cover, and how often do flips reject what is not there?

Worlds are planted: verbs with two inflections (so that two concepts share their first words) and
nouns with one, differences with an offset and noise of unequal spread. What an interval should
cover is the average estimate over all replications, for weights are judged as fitted to so many
words. For the first concept the split-half cosine of mean differences stands beside the centre of
its bootstrap over pairs: each resample has fewer distinct pairs, so its cosines lie lower.
"""

import argparse
import os

import numpy as np

from concept_ppl.analyses.pairs.counterfactual_matrices import counterfactual_matrix, matrix_of
from concept_ppl.analyses.pairs.designs import make_pair_design
from concept_ppl.analyses.pairs.joint_inverses import joint_inverse

WIDTH = 24
NAMES = ("verb - 3pSg", "verb - Ved", "noun - plural")


def planted(seed, n, strength):
    """States of words with offsets of the given length, and the ends of their pairs."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(99).normal(size=(WIDTH, 3)))[0].T
    axes[1] = 0.6 * axes[0] + 0.8 * axes[1]
    spread = 0.3 * np.exp(0.6 * np.random.default_rng(5).normal(size=WIDTH))
    verbs, nouns = 2.0 * rng.normal(size=(2, n, WIDTH))
    ends = [
        base + strength * axes[k] + spread * rng.standard_t(6, size=(n, WIDTH))
        for k, base in enumerate((verbs, verbs, nouns))
    ]
    F = np.vstack([verbs, ends[0], ends[1], nouns, ends[2]])
    i = np.arange(n)
    first = np.concatenate([i, i, 3 * n + i])
    second = np.concatenate([n + i, 2 * n + i, 4 * n + i])
    return F, first, second, np.repeat([0, 1, 2], n)


def bootstrap_centre(F, first, second, n, rng, n_resamples=60):
    """Split-half cosine of the first concept, and its mean over resamples of pairs."""
    differences = (F[second] - F[first])[:n]

    def cosine(rows):
        # Copies of a pair stay in one half, as all pairs that share words do.
        in_first = (rng.permutation(n) < n // 2)[rows]
        if in_first.all() or not in_first.any():
            return 0.0
        a, b = (differences[rows[part]].mean(axis=0) for part in (in_first, ~in_first))
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    resampled = [cosine(rng.integers(0, n, n)) for _ in range(n_resamples)]
    plain = np.mean([cosine(np.arange(n)) for _ in range(10)])
    return plain, np.mean(resampled)


def measure(estimator, n, strength, replications):
    """Coverage of entries, means and joint inverses; rejections of the diagonal at 5%."""
    found, joint, centres = [], [], []
    for seed in range(replications):
        F, first, second, concept = planted(seed, n, strength)
        design = make_pair_design(first, second, concept, names=NAMES, seed=seed)
        found.append(counterfactual_matrix(F, design, estimator=estimator, n_flips=999, seed=seed))
        if strength > 0 and estimator == "whitened":
            joint.append(joint_inverse(F, design, NAMES))
        if estimator == "mean difference":
            rng = np.random.default_rng(seed)
            centres.append(bootstrap_centre(F, first, second, n, rng))
    value, low, high, p = (
        np.array([matrix_of(m.entries, name) for m in found])
        for name in ("estimate", "ci_low", "ci_high", "p_value")
    )
    covered = ((low <= value.mean(axis=0)) & (value.mean(axis=0) <= high)).mean(axis=0)
    diagonal = np.eye(3, dtype=bool)
    row = {
        "diagonal": covered[diagonal].mean(),
        "off diagonal": covered[~diagonal].mean(),
        "mean": coverage([m.mean_diagonal for m in found]),
        "rejected": (p[:, diagonal] < 0.05).mean(),
    }
    if joint:
        row["joint mean"] = coverage([j.mean_diagonal for j in joint])
        row["joint distance"] = coverage_of_distance(joint)
    if centres:
        row["split-half cosine"], row["bootstrap centre"] = np.mean(centres, axis=0)
    return row


def coverage_of_distance(joint):
    """The same of distances, whose truth is that of the average entries."""
    entries = np.mean([matrix_of(j.entries, "estimate") for j in joint], axis=0)
    truth = np.linalg.norm(entries - np.eye(len(entries))) / np.sqrt(len(entries))
    told = [j.distance for j in joint if np.isfinite(j.distance.estimate)]
    return np.mean([e.ci_low <= truth <= e.ci_high for e in told]) if told else np.nan


def coverage(estimates):
    """Share of intervals that hold the average estimate."""
    told = [e for e in estimates if np.isfinite(e.estimate)]
    target = np.mean([e.estimate for e in told])
    return np.mean([e.ci_low <= target <= e.ci_high for e in told])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=200)
    options = parser.parse_args()
    print(f"{options.replications} replications, threads: {os.environ.get('OMP_NUM_THREADS')}")
    for estimator in ("mean difference", "whitened", "LDA"):
        for n, strength in ((10, 0.5), (40, 0.5), (40, 0.0)):
            row = measure(estimator, n, strength, options.replications)
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
            print(f"{estimator}, {n} pairs, offset {strength}: {numbers}", flush=True)


if __name__ == "__main__":
    main()
