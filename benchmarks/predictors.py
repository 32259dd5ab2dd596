"""How soon is a predictor close to Bayes, and do two seeds then see the same contexts alike?

Three worlds of `concept_dag` with 8 joint values of the concepts and 6 token values, all 1,296
contexts of four tokens, exact targets, y = c; the paper's MLP, its f as wide as the log-ratios of
the Bayes predictive have rank, their constant included. Two seeds each, trained until KL is 1e-4
nats, where the bars are, and until it is 2e-5. Seconds are those of the processor: training takes
one thread, whatever else the machine does. A bar of agreement is met by the interval's lower end.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from concept_ppl import load_model
from concept_ppl.analyses import cross_model
from concept_ppl.inference.enumerated_contexts import enumerate_contexts
from concept_ppl.predictors import PredictorConfig, exact_examples, train

RESULTS = Path(__file__).parent / "results" / "predictors.json"
KL_TARGETS = (1e-4, 2e-5)
SECONDS_BAR, AGREEMENT_BAR = 60.0, 0.98
WORLD = {
    "cardinalities": (2, 2, 2),
    "vocabulary": 6,
    "x_informativeness": 0.5,
    "y_determinism": 1.0,
}


def rank_of_log_ratios(examples):
    """Return how wide f must be: p(y|x) ∝ exp f(x)·g(y) has no room for a constant besides."""
    ratios = examples.log_predictive[:, 1:] - examples.log_predictive[:, :1]
    return int(np.linalg.matrix_rank(ratios * np.sqrt(examples.weights)[:, None], rtol=1e-9))


def trained(examples, seed, kl_target):
    config = PredictorConfig("mlp", representation=rank_of_log_ratios(examples))
    start = time.process_time()
    found = train(config, examples, seed=seed, kl_target=kl_target)
    return found, time.process_time() - start


def measure(world_seed, kl_target):
    world = enumerate_contexts(load_model("concept_dag", **WORLD, seed=world_seed), 4)
    examples = exact_examples(world)
    (first, seconds), (second, others) = (trained(examples, seed, kl_target) for seed in (0, 1))
    states = [predictor.states(world.contexts) for predictor in (first, second)]
    widest = min(6, states[0].shape[1])
    agreement = cross_model(*states, weights=examples.weights, n_directions=widest)
    return {
        "world": world_seed,
        "kl_target": kl_target,
        "contexts": len(world),
        "joint_values": world.log_predictive.shape[1],
        "width_of_f": first.config.d,
        "kl": [first.kl, second.kl],
        "steps": [first.steps, second.steps],
        "seconds": [seconds, others],
        "r2_forward": asdict(agreement.forward),
        "r2_backward": asdict(agreement.backward),
    }


def show(row):
    target = f"KL ≤ {row['kl_target']:g}"
    for kl, steps, seconds in zip(row["kl"], row["steps"], row["seconds"], strict=True):
        verdict = "met" if kl <= row["kl_target"] and seconds <= SECONDS_BAR else "NOT MET"
        reached = f"{kl:.1e} after {steps} steps, {seconds:.1f} s"
        print(f"| {row['world']} | {target} | in ≤ {SECONDS_BAR:g} s | {reached} | {verdict} |")
    for name in ("r2_forward", "r2_backward"):
        found = row[name]
        reached = f"{found['estimate']:.4f} [{found['ci_low']:.4f}, {found['ci_high']:.4f}]"
        verdict = "met" if found["ci_low"] >= AGREEMENT_BAR else "NOT MET"
        what = f"{name} of one seed on the other, {target}"
        print(f"| {row['world']} | {what} | ≥ {AGREEMENT_BAR} | {reached} | {verdict} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one world")
    options = parser.parse_args()
    worlds = range(1 if options.quick else 3)
    print("| world | what | bar | reached | |")
    print("|---|---|---|---|---|")
    rows = []
    for kl_target in KL_TARGETS:
        for world_seed in worlds:
            rows.append(measure(world_seed, kl_target))
            show(rows[-1])
    machine = {
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "worlds": rows}, indent=2) + "\n")
    print(f"\nwritten to {RESULTS}")


if __name__ == "__main__":
    main()
