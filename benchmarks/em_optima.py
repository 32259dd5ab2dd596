"""How often does a fit by default reach the best likelihood known?

Data are drawn from planted hidden Markov models, mixtures, latent classes and concepts on a graph.
The best likelihood known of each is the best of all that is tried here: the default fit, many more
random starts, and the truth as a start. A default fit has reached it where it lies less than
``NEAR`` nats below. Printed: the share that has, with its Wilson interval, a line a family.

    python benchmarks/em_optima.py [--worlds 3] [--starts 10] [--family mixture]
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from statsmodels.stats.proportion import proportion_confint

from concept_ppl import fit, load_model, simulate

NEAR = 0.5
"""Nats, half the log-likelihood ratio of one parameter's standard error."""


@dataclass(frozen=True)
class World:
    """A planted model: what is fitted, the true parameters, tokens drawn from them."""

    family: str
    name: str
    model: Callable[[int], None]
    truth: dict[str, Any]
    n: int
    lengths: int


def hidden_markov(states: int, vocabulary: int) -> Callable[[int], None]:
    """Return a hidden Markov model all of whose tables are unknown."""

    def model(n_tokens: int) -> None:
        first = pyro.sample("first", dist.Dirichlet(torch.ones(states)))
        rows = dist.Dirichlet(torch.ones(states, states)).to_event(1)
        move = pyro.sample("move", rows)
        words = dist.Dirichlet(torch.ones(states, vocabulary)).to_event(1)
        emission = pyro.sample("emission", words)
        state = None
        for t in pyro.markov(range(n_tokens)):
            probs = first if state is None else Vindex(move)[state]
            state = pyro.sample(f"state_{t}", dist.Categorical(probs))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(emission)[state]))

    return model


def worlds(n_worlds: int) -> Iterator[World]:
    """Return the grid."""
    for seed in range(n_worlds):
        rng = np.random.default_rng(seed)
        for states, vocabulary, stay in ((2, 4, 0.85), (2, 4, 0.25), (3, 5, 0.8)):
            move = np.full((states, states), (1 - stay) / (states - 1))
            np.fill_diagonal(move, stay)
            truth = {
                "first": np.full(states, 1 / states),
                "move": move,
                "emission": rng.dirichlet(np.full(vocabulary, 0.7), states),
            }
            name = f"{states} states, stay {stay}"
            model = hidden_markov(states, vocabulary)
            yield World("hidden Markov", name, model, truth, 100, 12)
        for topics, vocabulary in ((3, 8), (5, 20)):
            model = load_model("topic_mixture", topics=topics, vocabulary=vocabulary, learn=True)
            truth = {
                "share": rng.dirichlet(np.full(topics, 5.0)),
                "emission": rng.dirichlet(np.full(vocabulary, 0.4), topics),
            }
            yield World("mixture", f"{topics} topics", model, truth, 500, 8)
        for classes, items in ((2, 6), (4, 8)):
            model = load_model(
                "latent_classes", classes=classes, items=items, answers=3, learn=True
            )
            truth = {
                "share": rng.dirichlet(np.full(classes, 5.0)),
                "response": rng.dirichlet(np.full(3, 0.5), (items, classes)),
            }
            yield World("latent classes", f"{classes} classes", model, truth, 500, items)
        yield _graph(seed, rng)


def _graph(seed: int, rng: np.random.Generator) -> World:
    build = {"cardinalities": (2, 2), "vocabulary": 12, "expected_degree": 1.0, "seed": seed}
    model = load_model("concept_dag", learn=True, **build)
    found = fit(model, [[0, 1, 2], [3, 1]], restarts=1, iterations=1, standard_errors=False)
    truth = {}
    for name, shape in found.shapes.items():
        concentration = 0.3 if shape[-1] > 2 else 1.0
        truth[name] = rng.dirichlet(np.full(shape[-1], concentration), shape[:-1])
    return World("concepts on a graph", "2 binary concepts", model, truth, 500, 8)


def judge(world: World, seed: int, starts: int) -> dict[str, Any]:
    """Fit once by default, and in every other way that may find more."""
    tokens = simulate(world.model, world.n, lengths=world.lengths, values=world.truth, seed=seed)
    tokens = tokens[["x"]]
    plain = {"standard_errors": False, "log_likelihood": False}
    begun = time.perf_counter()
    default = fit(world.model, tokens, seed=seed, **plain)
    seconds = time.perf_counter() - begun
    truth = fit(world.model, tokens, restarts=1, start=world.truth, seed=seed, **plain)
    more = fit(world.model, tokens, restarts=starts, seed=seed + 10_000, **plain)
    best = max(found.restarts.max() for found in (default, truth, more))
    return {
        "family": world.family,
        "world": world.name,
        "reached": default.restarts.max() >= best - NEAR,
        "below": best - default.restarts.max(),
        "one_start": float(np.mean(more.restarts >= best - NEAR)),
        "runs": len(default.restarts),
        "iterations": sum(map(len, default.history)),
        "seconds": seconds,
    }


def wilson(k: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share."""
    low, high = proportion_confint(k, n, method="wilson")
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=3, help="planted worlds of each kind")
    parser.add_argument("--starts", type=int, default=10, help="more starts of each world")
    parser.add_argument("--family", default="", help="this family alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for k, world in enumerate(worlds(arguments.worlds)):
        if arguments.family in world.family:
            rows.append(judge(world, k, arguments.starts))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    for name, part in [*table.groupby("family"), ("all", table)]:
        low, high = wilson(part["reached"].sum(), len(part))
        print(
            f"{name}: {part['reached'].sum()} of {len(part)} default fits reach the best "
            f"likelihood known, {part['reached'].mean():.3f} [{low:.3f}, {high:.3f}]; one start "
            f"does with probability {part['one_start'].mean():.2f}; "
            f"{part['seconds'].median():.1f} s a fit"
        )


if __name__ == "__main__":
    main()
