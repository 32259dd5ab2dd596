"""How much faster is one stacked sandwich than a loop of statsmodels, and does streaming stay small?

Run with one thread (`OMP_NUM_THREADS=1`). `--stream` adds the run from disk: a million states of
1,024 numbers (4 GB in float32, written chunk-wise to a temporary folder) on 31 contrasts.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import statsmodels
import statsmodels.api as sm

from concept_ppl.analyses import linear_map, stored_rows, stream_linear_map

RESULTS = Path(__file__).parent / "results" / "linear_map.json"
N_SAMPLED = 48
REPEATS = 5


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def loop_of_statsmodels(F, Z):
    """What `linear_map` answers for an output: errors, intervals, p-values, R², Wald test."""
    X, slopes = sm.add_constant(Z), np.eye(Z.shape[1] + 1)[1:]
    for y in F.T:
        fit = sm.OLS(y, X).fit(cov_type="HC3", use_t=True)
        _ = fit.bse, fit.conf_int(), fit.pvalues, fit.rsquared
        fit.wald_test(slopes, use_f=True, scalar=True)


def standard_errors_alone(F, Z):
    X = sm.add_constant(Z)
    for y in F.T:
        _ = sm.OLS(y, X).fit(cov_type="HC3").bse


def speed(n=4_000, k=16, d=576):
    """Ratios in one run: the loop is timed on some outputs, turn about, and scaled to all."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, k - 1))
    F = Z @ rng.normal(size=(k - 1, d)) + rng.normal(size=(n, d))
    linear_map(F[:100], Z[:100])
    ours, loop, errors = [], [], []
    for _ in range(REPEATS):
        ours.append(seconds(lambda: linear_map(F, Z)))
        some = F[:, :N_SAMPLED]
        loop.append(seconds(lambda: loop_of_statsmodels(some, Z)) * d / N_SAMPLED)
        errors.append(seconds(lambda: standard_errors_alone(some, Z)) * d / N_SAMPLED)
    direct = linear_map(F[:, :3], Z)
    reference = [sm.OLS(y, sm.add_constant(Z)).fit(cov_type="HC3").bse for y in F[:, :3].T]
    difference = np.abs(direct.std_errors / np.transpose(reference) - 1.0).max()
    middle = {
        name: statistics.median(v) for name, v in zip("alr", (ours, loop, errors), strict=True)
    }
    return {
        "n": n,
        "coefficients": k,
        "outputs": d,
        "outputs_timed_in_loop": N_SAMPLED,
        "repeats": REPEATS,
        "linear_map_seconds": middle["a"],
        "statsmodels_loop_seconds": middle["l"],
        "statsmodels_loop_standard_errors_alone_seconds": middle["r"],
        "ratio": middle["l"] / middle["a"],
        "ratio_standard_errors_alone": middle["r"] / middle["a"],
        "largest_relative_difference_of_standard_errors": float(difference),
    }


def write_states(folder, n, d, q, chunk=20_000):
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=(q, d)).astype(np.float32)
    np.save(folder / "Z.npy", rng.normal(size=(n, q)).astype(np.float32))
    Z = np.load(folder / "Z.npy", mmap_mode="r")
    file = np.lib.format.open_memmap(folder / "F.npy", "w+", np.float32, (n, d))
    for start in range(0, n, chunk):
        part = Z[start : start + chunk]
        noise = rng.standard_normal(size=(len(part), d), dtype=np.float32)
        file[start : start + chunk] = part @ slopes + noise * (1 + np.abs(part[:, :1]))
    file.flush()


def stream(folder):
    """In a process of its own, so that the peak is that of the analysis."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = stream_linear_map(stored_rows(folder / "F.npy", folder / "Z.npy"))
    elapsed = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "n": found.n,
        "outputs": len(found.outputs),
        "contrasts": len(found.regressors) - 1,
        "bytes_on_disk": (folder / "F.npy").stat().st_size,
        "seconds": elapsed,
        "peak_resident_bytes": peak * 1024,
        "peak_resident_bytes_before": before * 1024,
        "median_standard_error": float(np.median(found.std_errors[1:])),
    }


def streamed(n=1_000_000, d=1_024, q=31):
    with tempfile.TemporaryDirectory() as name:
        write_states(Path(name), n, d, q)
        command = [sys.executable, __file__, "--folder", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(stream(arguments.folder)))
        return
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "statsmodels": statsmodels.__version__,
    }
    stored["speed"] = speed()
    if arguments.stream:
        stored["streaming"] = streamed()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(stored, indent=2) + "\n")
    print(RESULTS.read_text(), end="")


if __name__ == "__main__":
    main()
