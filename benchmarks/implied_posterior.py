"""How much faster are the weights of a mixture by Newton in batches than by EM, equally sure?

Run with one thread (`OMP_NUM_THREADS=1`). EM is hand-written torch, two matrix products a step, all
contexts together, and stops each context at the same duality gap, or gives up after `MOST_STEPS`.
Predictives are misfitted mixtures of rows with a Zipf law, most of whose weights are zero; the rows
are far apart, or alike. `--large` adds the time of 3,000 contexts, 24 values and 3,000 tokens, with
errors and intervals.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from measures import Work, paired_ratio

from concept_ppl.analyses import implied_posterior
from concept_ppl.analyses.worlds.implied_posteriors import TOLERANCE as GAP
from concept_ppl.analyses.worlds.mixture_likelihoods import mixture_weights

RESULTS = Path(__file__).parent / "results" / "implied_posterior.json"
BAR, BAR_SECONDS = 10.0, 30.0
MOST_STEPS = 20_000
AGREEMENT = 1e-6
"""Nats by which the log-likelihoods may differ, as the gaps of both allow."""


def planted(n, n_values, n_tokens, spread=2.0):
    """Predictives (n, V) and rows (C, V), float64."""
    rng = np.random.default_rng(0)
    P = np.exp(spread * rng.normal(size=(n_values, n_tokens))) / np.arange(1, n_tokens + 1)
    P /= P.sum(axis=1, keepdims=True)
    q = rng.dirichlet(np.full(n_values, 0.3), n) @ P * np.exp(0.7 * rng.normal(size=(n, n_tokens)))
    return torch.tensor(q / q.sum(axis=1, keepdims=True)), torch.tensor(P)


def by_em(q, P):
    """Plain EM until every context's gap is met; a context that is done leaves."""
    weights = q.new_full((len(q), len(P)), 1 / len(P))
    answer, rows, met = weights.clone(), torch.arange(len(q)), 0
    for _ in range(MOST_STEPS):
        slopes = (q / (weights @ P)) @ P.T
        going = slopes.amax(1) - 1 > GAP
        if not bool(going.all()):
            answer[rows[~going]] = weights[~going]
            met += int((~going).sum())
            q, weights, slopes, rows = q[going], weights[going], slopes[going], rows[going]
        if not len(rows):
            break
        weights = weights * slopes
    answer[rows] = weights
    return answer, met


def speed(repeats, spread):
    """Seconds a context of both, in interleaved pairs."""
    q, P = planted(60, 24, 500, spread)
    ours = mixture_weights(q, P, tolerance=GAP)
    theirs, met = by_em(q, P)
    likelihoods = [(q * (w @ P).log()).sum(1) for w in (ours.weights, theirs)]
    worst = float((likelihoods[1] - likelihoods[0]).max())
    if not worst <= AGREEMENT:
        raise RuntimeError(f"EM is more likely by {worst:.2g} nats: no time means much")
    ratio, seconds = paired_ratio(
        Work(lambda: by_em(q, P), len(q)),
        Work(lambda: mixture_weights(q, P, tolerance=GAP), len(q)),
        repeats,
    )
    return {
        "contexts": len(q),
        "met_by_em": met,
        "ratio": asdict(ratio),
        "seconds_a_context": seconds.median,
        "largest_gap": float(ours.gaps.max()),
        "met": ratio.median >= BAR,
    }


def large():
    """Processor seconds of the whole analysis."""
    q, P = (part.log() for part in planted(3_000, 24, 3_000))
    start = time.process_time()
    found = implied_posterior(q, P)
    seconds = time.process_time() - start
    return {"seconds": seconds, "gap": found.largest_gap, "met": seconds <= BAR_SECONDS}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two pairs, no interval")
    parser.add_argument("--large", action="store_true", help="3,000 contexts, 24 values")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found, verdict = {}, {True: "met", False: "NOT MET"}
    print("| work | beside | reached | bar | |")
    print("|---|---|---|---|---|")
    for name, spread in (("far apart", 2.0), ("alike", 0.5)):
        row = found[name] = speed(2 if options.quick else 7, spread)
        ratio = row["ratio"]
        reached = f"{ratio['median']:.0f} [{ratio['low']:.0f}, {ratio['high']:.0f}] times faster"
        beside = f"EM, which meets the gap in {row['met_by_em']} of {row['contexts']}"
        met = verdict[row["met"]]
        print(f"| 24 weights, 500 tokens, rows {name} | {beside} | {reached} | ≥ {BAR:g} | {met} |")
    if options.large:
        found["large"] = large()
        reached = f"{found['large']['seconds']:.1f} s"
        met = verdict[found["large"]["met"]]
        work = "3,000 contexts, 24 weights, 3,000 tokens"
        print(f"| {work} | errors included | {reached} | ≤ {BAR_SECONDS:g} s | {met} |")
    found["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "torch": torch.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nwritten to {RESULTS}")


if __name__ == "__main__":
    main()
