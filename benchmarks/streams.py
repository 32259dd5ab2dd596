"""Posteriors of a file that memory does not hold: peak memory and seconds a context, by its length.

Each size is simulated and answered by the command in processes of its own, and the same contexts
are answered at once in a third. Rates are those of the contexts beyond the first size, so that
what a process costs before its first context counts in neither. Run with one thread
(`OMP_NUM_THREADS=1`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SHARE_BAR, MEMORY_BAR, LENGTH, MOST_AT_ONCE = 0.8, 2e9, 32, 10**6
AT_ONCE = """
import json, resource, sys, time
import pandas, torch
from concept_ppl import load_model, posterior
from concept_ppl.contexts.tokens import read_tokens
torch.set_num_threads(1)
model, start = load_model("concept_dag"), time.process_time()
_, contexts = read_tokens(sys.argv[1])
posterior(model, contexts).to_frame().to_parquet(sys.argv[2], index=False)
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "peak": peak}))
"""
BY_COMMAND = """
import json, resource, sys, time
import torch
from concept_ppl import cli
torch.set_num_threads(1)
start = time.process_time()
sys.argv = ["concept-ppl", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as stop:
    assert not stop.code, stop.code
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "peak": peak}))
"""


def run(script, *arguments):
    """Run a script in a process of its own; return its processor seconds and peak of memory."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[250_000, 1_000_000, 4_000_000])
    sizes = parser.parse_args().sizes
    print("| contexts of 32 tokens | simulate | posterior | at once | rate of at once |")
    print("|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tokens, answer = Path(folder, "tokens.parquet"), Path(folder, "answer.parquet")
        for n in sizes:
            model = ("concept_dag", "-n", n, "--lengths", LENGTH, "--force", "-o", tokens)
            own = [run(BY_COMMAND, "simulate", *model)]
            own.append(run(BY_COMMAND, "posterior", "concept_dag", tokens, "--force", "-o", answer))
            own += [run(AT_ONCE, tokens, answer)] if n <= MOST_AT_ONCE else []
            rows.append((n, own))
            cells = [f"{one['seconds']:.1f} s, {one['peak'] / 1e9:.2f} GB" for one in own]
            share = "" if len(own) < 3 else f"{share_of(rows):.2f}"
            print(f"| {n:,} | {' | '.join([*cells, '', ''][:3])} | {share} |", flush=True)
    peak, share = max(own[1]["peak"] for _, own in rows), share_of(rows)
    met = "met" if peak <= MEMORY_BAR and not share < SHARE_BAR else "NOT MET"
    print(f"\n{share:.2f} of the rate at once (bar {SHARE_BAR}), {peak / 1e9:.2f} GB: {met}")


def share_of(rows):
    """Return the rate of the stream over that of answering at once, beyond the first size."""
    both = [own for _, own in rows if len(own) == 3]
    if not both:
        return float("nan")
    stream, whole = (both[-1][i]["seconds"] - both[0][i]["seconds"] for i in (1, 2))
    return whole / stream if stream else float("nan")


if __name__ == "__main__":
    main()
