"""How much faster is one sandwich than a loop of statsmodels, and does streaming stay small?

Run with one thread (`OMP_NUM_THREADS=1`). `--stream` adds the run from disk: a million states of
1,024 numbers (4 GB in float32, written chunk-wise to a temporary folder) on 31 contrasts.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import statsmodels
import statsmodels.api as sm
from measures import Work, paired_ratio
from peak_memory import resident

from concept_ppl.analyses import linear_map, stream_linear_map
from concept_ppl.analyses.regression import stored_rows

RESULTS = Path(__file__).parent / "results" / "linear_map.json"
N_SAMPLED = 48
REPEATS = 7


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
    """Seconds an output, as ratios in pairs: the loop is timed on the first few outputs."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, k - 1))
    F = Z @ rng.normal(size=(k - 1, d)) + rng.normal(size=(n, d))
    some = F[:, :N_SAMPLED]
    ours = Work(lambda: linear_map(F, Z), d)
    loops = {
        "same_answers": Work(lambda: loop_of_statsmodels(some, Z), N_SAMPLED),
        "standard_errors_alone": Work(lambda: standard_errors_alone(some, Z), N_SAMPLED),
    }
    found: dict[str, object] = {"n": n, "coefficients": k, "outputs": d, "in_loop": N_SAMPLED}
    for name, loop in loops.items():
        ratio, seconds = paired_ratio(loop, ours, REPEATS)
        found[f"statsmodels_over_linear_map_{name}"] = asdict(ratio)
        found["linear_map_seconds"] = seconds.median * d
    errors = [sm.OLS(y, sm.add_constant(Z)).fit(cov_type="HC3").bse for y in some.T]
    difference = linear_map(F, Z).std_errors[:, :N_SAMPLED] / np.transpose(errors) - 1.0
    found["largest_relative_difference_of_standard_errors"] = float(np.abs(difference).max())
    return found


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
    """In a process of its own, whose high-water mark starts again once everything is imported."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    start = time.perf_counter()
    found = stream_linear_map(stored_rows(folder / "F.npy", folder / "Z.npy"))
    return {
        "n": found.n,
        "outputs": len(found.outputs),
        "contrasts": len(found.regressors) - 1,
        "seconds": time.perf_counter() - start,
        "bytes_on_disk": (folder / "F.npy").stat().st_size,
        "resident_bytes_before": before,
        "peak_resident_bytes": resident("VmHWM"),
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
