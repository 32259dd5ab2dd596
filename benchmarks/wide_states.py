"""How long and how much memory do the headline analyses take where states are wide?

Every row runs in a process of its own with two threads: the six headline analyses together on
planted states in memory and on half-precision states on the disk, a curve over 33 layers; and, with
one thread for both, R² and canonical correlations beside a scikit-learn user's loop over folds
(RidgeCV, which chooses λ by its closed-form leave-one-out, and CCA). Seconds are those of the
clock; beside them stands processor time over two threads, the least that the clock could say on
two cores. `python benchmarks/wide_states.py six-2048 loop-2048` runs some rows, `--layers 2` a
shorter curve.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from concept_ppl.analyses import (
    canonical_correlations,
    decompose_states,
    equivalence,
    goodness_of_fit,
    invertibility,
    layer_curve,
    linearity,
)

RESULTS = Path(__file__).parent / "results" / "wide_states.json"
THREADS = 2
Q = 4
LAYERS = 33
AGREEMENT = 5e-3
"""Largest |ΔR²| that counts as the same answer: the loop tunes λ by another criterion."""

BARS = {
    "six-2048": {"seconds": 12.0},
    "six-4096": {"seconds": 60.0, "gigabytes": 3.0},
    "stored-4096": {"seconds": 360.0, "gigabytes": 4.0},
    "layers-4096": {"seconds": 900.0},
    "loop-2048": {"times": 10.0},
}


def planted(n, d, seed=0):
    """States (n, d) in single precision whose spread falls off, and contrasts that they carry."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, Q)) @ (np.eye(Q) + 0.3)
    F = rng.standard_normal((n, d), dtype=np.float32)
    F *= np.arange(1, d + 1, dtype=np.float32) ** -0.5
    F += (Z @ (0.05 * rng.standard_normal((Q, d)))).astype(np.float32)
    F += rng.standard_normal(d).astype(np.float32)
    return F, Z


class Layers(Mapping[str, np.ndarray]):
    """States of layers, each drawn when it is asked for."""

    def __init__(self, n_layers: int, n: int, d: int) -> None:
        """Keep the sizes."""
        self.n_layers, self.size = n_layers, (n, d)

    def __getitem__(self, layer: str) -> np.ndarray:
        """Draw the states of a layer: noise of its own about the same contrasts."""
        F, Z = planted(*self.size)
        rng = np.random.default_rng(int(layer))
        slopes = (0.05 * rng.standard_normal((Q, self.size[1]))).astype(np.float32)
        return F + Z.astype(np.float32) @ slopes

    def __iter__(self) -> Iterator[str]:
        """Go through the layers' names."""
        return map(str, range(self.n_layers))

    def __len__(self) -> int:
        """Return how many layers there are."""
        return self.n_layers


def six(F, Z):
    states = decompose_states(F)
    for analysis in (
        goodness_of_fit,
        canonical_correlations,
        equivalence,
        invertibility,
        linearity,
    ):
        analysis(states, Z)


def loop_of_sklearn(F, Z):
    """Held-out R² of RidgeCV both ways, and canonical correlations, each fold by the others."""
    backward, forward = np.empty_like(Z), np.empty_like(F)
    for train, test in KFold(5, shuffle=True, random_state=0).split(F):
        top = np.linalg.norm(F[train] - F[train].mean(axis=0), ord=2) ** 2
        penalties = 10.0 ** np.arange(-8.0, 2.25, 0.5)
        backward[test] = RidgeCV(penalties * top).fit(F[train], Z[train]).predict(F[test])
        forward[test] = RidgeCV(penalties * len(train)).fit(Z[train], F[train]).predict(Z[test])
        a, b = CCA(Q).fit(F[train], Z[train]).transform(F[test], Z[test])
        _ = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)]
    variance = "variance_weighted"
    return r2_score(Z, backward, multioutput=variance), r2_score(F, forward, multioutput=variance)


def beside_loop(n, d):
    """Times that the loop takes as long, clock and processor, after comparing the answers."""
    F, Z = planted(n, d)
    F = F.astype(np.float64)

    def ours():
        states = decompose_states(F)
        found = goodness_of_fit(states, Z)
        canonical_correlations(states, Z)
        return found.backward.estimate, found.forward.estimate

    (answer, *own), (peer, *theirs) = timed(ours), timed(lambda: loop_of_sklearn(F, Z))
    gap = np.abs(np.subtract(answer, peer)).max()
    if not gap < AGREEMENT:
        raise RuntimeError(f"R² is {answer} here and {peer} there: no time means much")
    return {
        "seconds": own[0],
        "times": theirs[0] / own[0],
        "times_processor": theirs[1] / own[1],
        "largest_gap": float(gap),
    }


def timed(work):
    start, processor = time.perf_counter(), time.process_time()
    answer = work()
    return answer, time.perf_counter() - start, time.process_time() - processor


def measured(work):
    _, seconds, processor = timed(work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": seconds, "processor_share": processor / THREADS, "gigabytes": peak}


def stored(n, d):
    """The six on half-precision states on the disk, which are written block by block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "F.npy"
        file = np.lib.format.open_memmap(path, "w+", np.float16, (n, d))
        contrasts = []
        for i, start in enumerate(range(0, n, 2_000)):
            F, Z = planted(min(2_000, n - start), d, seed=i)
            file[start : start + len(F)] = F
            contrasts.append(Z)
        del file, F
        found = np.load(path, mmap_mode="r")
        return measured(lambda: six(found, np.vstack(contrasts)))


def row(name, n_layers):
    """Measure one row in this process."""
    if name == "six-2048":
        F, Z = planted(5_000, 2_048)
        return measured(lambda: six(F, Z))
    if name == "six-4096":
        F, Z = planted(8_000, 4_096)
        return measured(lambda: six(F, Z))
    if name == "stored-4096":
        return stored(50_000, 4_096)
    if name == "layers-4096":
        _, Z = planted(5_000, 4_096)
        return measured(lambda: layer_curve(Layers(n_layers, 5_000, 4_096), Z))
    return beside_loop(5_000, 2_048)


def in_own_process(name, n_layers):
    command = [sys.executable, __file__, "--row", name, "--layers", str(n_layers)]
    threads = 1 if name.startswith("loop") else THREADS
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *BARS], help="all by default")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the curve")
    parser.add_argument("--row", choices=BARS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(row(arguments.row, arguments.layers)))
        return
    held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in arguments.rows or BARS:
        held[name] = in_own_process(name, arguments.layers)
        for quantity, value in held[name].items():
            bar = BARS[name].get(quantity)
            at_least = quantity == "times"
            met = "" if bar is None else f"  bar {'≥' if at_least else '≤'} {bar:g}"
            if bar is not None and (value < bar if at_least else value > bar):
                met += ", not met"
            print(f"{name:12} {quantity:16} {value:9.4g}{met}", flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(held, indent=2) + "\n")


if __name__ == "__main__":
    main()
