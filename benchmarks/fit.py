"""Are fits right, and how much faster than peers? EM against StepMix and pomegranate, MAP, memory.

Run with one thread (`OMP_NUM_THREADS=1`). Each peer does the same work: EM from the same start, the
same iterations; a step of SVI on the same program. Answers are compared before anything is timed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import warnings
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np
import pyro
import torch
from fit_programs import answers_of_classes, chain, chain_in_plates, latent_classes
from measures import Work, paired_ratio
from pomegranate.distributions import Categorical
from pomegranate.gmm import GeneralMixtureModel
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta
from pyro.poutine import block
from stepmix.stepmix import StepMix

from concept_ppl import collapsed, fit

RESULTS = Path(__file__).parent / "results" / "fit.json"
AGREEMENT, EM_BAR, MAP_BAR, MEMORY_BAR = 1e-6, 3.0, 50.0, 4e9
CLASSES, ITEMS, ANSWERS, ITERATIONS = 8, 20, 50, 5


def stepmix(tokens, classes, iterations, seed=0):
    """Run StepMix's EM; ``iterations`` at most, to the end if it converges to 1e-12 before."""
    model = StepMix(
        n_components=classes,
        measurement="categorical",
        max_iter=iterations,
        abs_tol=1e-12,
        rel_tol=0.0,
        random_state=seed,
        progress_bar=0,
        verbose=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(tokens)
    return model


def parameters_of(model, items, answers):
    """Return StepMix's parameters as ours."""
    found = model.get_parameters()
    pis = np.asarray(found["measurement"]["pis"])
    response = pis.reshape(-1, items, answers).transpose(1, 0, 2)
    share = np.asarray(found["weights"])
    clean = np.maximum(response, 0)
    return {"share": share / share.sum(), "response": clean / clean.sum(-1, keepdims=True)}


def agreement():
    """Both end where they end from StepMix's own first iterate."""
    classes, items, answers = 3, 6, 4
    tokens = answers_of_classes(1000, classes, items, answers)
    start = parameters_of(stepmix(tokens, classes, 1), items, answers)
    theirs = stepmix(tokens, classes, 5000)
    their_total = float(theirs.score(tokens)) * len(tokens)
    ours = fit(
        latent_classes(classes, items, answers),
        torch.from_numpy(tokens),
        "em",
        restarts=1,
        start=start,
        iterations=5000,
        tolerance=1e-13,
    )
    our_total = float(ours.log_evidence[0, 0])
    return {
        "ours": our_total,
        "stepmix": their_total,
        "relative": abs(our_total - their_total) / abs(their_total),
    }


def pomegranate(tokens, classes, answers, iterations):
    """Run pomegranate's mixture of products of categoricals, from random tables."""
    rng = np.random.default_rng(0)
    tables = rng.dirichlet(np.ones(answers), (classes, tokens.shape[1]))
    parts = [Categorical(table.astype(np.float32)) for table in tables]
    model = GeneralMixtureModel(parts, max_iter=iterations, tol=-np.inf)
    model.fit(tokens)
    return model


def em_speed(n, repeats):
    """Ratios of seconds for the same iterations of EM, everything around them included."""
    tokens = answers_of_classes(n, CLASSES, ITEMS, ANSWERS)
    as_tensor = torch.from_numpy(tokens)
    program = latent_classes(CLASSES, ITEMS, ANSWERS)

    def ours():
        return fit(
            program,
            as_tensor,
            "em",
            restarts=1,
            iterations=ITERATIONS,
            tolerance=0.0,
            standard_errors=False,
        )

    peers = {
        "StepMix, categorical": lambda: stepmix(tokens, CLASSES, ITERATIONS),
        "pomegranate, GeneralMixtureModel of Categorical": lambda: pomegranate(
            as_tensor, CLASSES, ANSWERS, ITERATIONS
        ),
    }
    found = {}
    for name, call in peers.items():
        ratio, seconds = paired_ratio(Work(call), Work(ours), repeats)
        found[name] = {"ratio": asdict(ratio), "our_seconds": seconds.median}
    return found


class RawDelta(AutoDelta):
    """A guide whose parameters have names of their own in Pyro's one store."""


def map_speed(n, repeats):
    """Ratio of seconds of a step of SVI with ``AutoDelta``, raw over collapsed."""
    rng = np.random.default_rng(0)
    contexts = torch.from_numpy(rng.integers(0, 30, (n, 8)))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        program = collapsed(chain, contexts)
        pyro.clear_param_store()
        small = AutoDelta(program)
        fast = SVI(program, small, pyro.optim.Adam({"lr": 0.0}), Trace_ELBO())
        names = ["root", "links", "emission"]
        hidden = block(chain_in_plates, expose=names)
        guide = RawDelta(hidden)
        elbo = TraceEnum_ELBO(max_plate_nesting=2)
        slow = SVI(chain_in_plates, guide, pyro.optim.Adam({"lr": 0.0}), elbo)
        fast.step(), slow.step(contexts)  # makes both guides' parameters
        for name in names:
            with torch.no_grad():
                getattr(guide, name + "_unconstrained").copy_(
                    getattr(small, name + "_unconstrained")
                )
        ours, theirs = fast.step(), slow.step(contexts)
        if not np.isclose(ours, theirs, rtol=1e-9):
            raise RuntimeError(f"the losses are {ours} and {theirs}: no time means much")
        ratio, seconds = paired_ratio(Work(lambda: slow.step(contexts)), Work(fast.step), repeats)
    finally:
        torch.set_default_dtype(before)
    return {"ratio": asdict(ratio), "our_seconds": seconds.median, "loss": float(ours)}


def memory(sizes):
    """Peak memory of whole processes, and seconds, at each number of contexts."""
    script = Path(__file__).with_name("fit_memory.py")
    found = []
    for n in sizes:
        done = subprocess.run(
            [sys.executable, str(script), str(n)], check=True, capture_output=True, text=True
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def shown(ratio):
    return f"{ratio['median']:.1f} [{ratio['low']:.1f}, {ratio['high']:.1f}]"


def verdict(met):
    return "met" if met else "NOT MET"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, two pairs, no interval")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    found = {"agreement": agreement()}
    found["em"] = em_speed(10_000 if quick else 100_000, 2 if quick else 6)
    found["map"] = map_speed(1_000 if quick else 10_000, 2 if quick else 6)
    found["memory"] = memory([20_000, 40_000] if quick else [250_000, 1_000_000])
    found["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        **{
            name: metadata.version(name)
            for name in ("torch", "pyro-ppl", "stepmix", "pomegranate", "numpy", "scipy")
        },
    }
    print("| what | bar | reached | ours | |")
    print("|---|---|---|---|---|")
    relative = found["agreement"]["relative"]
    met = verdict(relative <= AGREEMENT)
    print(
        f"| log-likelihood of EM against StepMix | ≤ {AGREEMENT:g} relative | {relative:.1e} "
        f"| {found['agreement']['ours']:.6f} | {met} |"
    )
    for name, row in found["em"].items():
        met = verdict(row["ratio"]["median"] >= EM_BAR)
        print(
            f"| EM, {name}: times faster | ≥ {EM_BAR:g} | {shown(row['ratio'])} "
            f"| {row['our_seconds']:.2f} s | {met} |"
        )
    row = found["map"]
    met = verdict(row["ratio"]["median"] >= MAP_BAR)
    print(
        f"| SVI step, raw TraceEnum_ELBO: times faster | ≥ {MAP_BAR:g} | {shown(row['ratio'])} "
        f"| {1e3 * row['our_seconds']:.1f} ms | {met} |"
    )
    small, large = found["memory"]
    met = verdict(large["peak_bytes"] <= MEMORY_BAR)
    print(
        f"| EM, {large['n']:,} contexts: peak of the process | ≤ {MEMORY_BAR / 1e9:g} GB "
        f"| {large['peak_bytes'] / 1e9:.2f} GB | {large['seconds']:.1f} s | {met} |"
    )
    growth = large["seconds"] / small["seconds"] / (large["n"] / small["n"])
    print(f"| … seconds a context, over those at {small['n']:,} | about 1 | {growth:.2f} | | |")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nwritten to {RESULTS}")


if __name__ == "__main__":
    main()
