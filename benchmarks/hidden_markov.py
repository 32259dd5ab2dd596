"""EM of a hidden Markov model, written as a loop, against hmmlearn from the same start.

Run with one thread (`OMP_NUM_THREADS=1`). Log-likelihoods are compared before anything is timed;
hmmlearn runs by its default (`implementation="log"`) and by its faster one (`"scaling"`). A long
context and the trace of a loop are timed beside it, and rows of other sizes with ``--small``.
"""

import argparse
import time

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from hmmlearn.hmm import CategoricalHMM
from measures import Work, paired_ratio
from pyro.ops.indexing import Vindex

from concept_ppl import compile_model, load_model, posterior
from concept_ppl.contexts import Contexts
from concept_ppl.fitting.algorithms.expectation_maximisation import (
    ExpectationMaximisation,
    plan_m_step,
)
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood

BAR, SECONDS_BAR, TRACE_BAR, AGREEMENT = 10.0, 2.0, 1.0, 1e-9


def hidden_markov(n_states, n_values):
    """A hidden Markov model without priors: the goal is the maximum of the likelihood."""
    simplex = dist.constraints.simplex
    start = torch.full((n_states,), 1 / n_states, dtype=torch.float64)
    move = torch.full((n_states, n_states), 1 / n_states, dtype=torch.float64)
    emit = torch.full((n_states, n_values), 1 / n_values, dtype=torch.float64)

    def model(n_tokens):
        own_start = pyro.param("start", start, constraint=simplex)
        own_move = pyro.param("move", move, constraint=simplex)
        own_emit = pyro.param("emit", emit, constraint=simplex)
        state = None
        for t in pyro.markov(range(n_tokens)):
            row = own_start if state is None else Vindex(own_move)[state]
            state = pyro.sample(f"state_{t}", dist.Categorical(row))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(own_emit)[state]))

    return model


def tables(rng, n_states, n_values):
    """Draw tables, the same kind for the truth and for a start."""
    return {
        "start": rng.dirichlet(np.ones(n_states)),
        "move": rng.dirichlet(np.ones(n_states), n_states),
        "emit": rng.dirichlet(np.full(n_values, 0.5), n_states),
    }


def draw(rng, truth, lengths):
    """Draw sequences of the given lengths."""
    longest, n = int(lengths.max()), len(lengths)
    tokens = np.empty((n, longest), np.int64)
    cumulative = {name: table.cumsum(-1) for name, table in truth.items()}
    state = (rng.random((n, 1)) > cumulative["start"]).sum(1)
    for t in range(longest):
        if t:
            state = (rng.random((n, 1)) > cumulative["move"][state]).sum(1)
        state = np.minimum(state, len(truth["start"]) - 1)
        token = (rng.random((n, 1)) > cumulative["emit"][state]).sum(1)
        tokens[:, t] = np.minimum(token, truth["emit"].shape[1] - 1)
    return Contexts(tokens[np.arange(longest) < lengths[:, None]], lengths)


def peer(start, iterations, implementation):
    """Return hmmlearn's model, that many iterations from a start."""
    n_states, n_values = start["emit"].shape
    model = CategoricalHMM(
        n_states, n_iter=iterations, tol=-np.inf, init_params="", implementation=implementation
    )
    model.n_features = n_values
    model.startprob_, model.transmat_ = start["start"].copy(), start["move"].copy()
    model.emissionprob_ = start["emit"].copy()
    return model


def em(sizes, repeats, iterations):
    """Print a row for each of hmmlearn's implementations."""
    n_states, n_values, n, length = sizes
    rng = np.random.default_rng(0)
    lengths = np.full(n, length) if length > 100 else rng.integers(2, 2 * length, n)
    contexts = draw(rng, tables(rng, n_states, n_values), lengths)
    start = tables(rng, n_states, n_values)
    likelihood = make_likelihood(hidden_markov(n_states, n_values), contexts)
    first = {name: torch.from_numpy(value) for name, value in start.items()}
    plan = plan_m_step(likelihood.program)

    def ours():
        ascent = ExpectationMaximisation(likelihood, plan, first)
        for _ in range(iterations):
            total, _ = ascent.step()
            ascent.values = ascent._better  # without leaps, which hmmlearn does not take
        return total

    column = contexts.tokens.reshape(-1, 1)
    for implementation in ("log", "scaling"):
        theirs = peer(start, iterations, implementation).fit(column, lengths)
        found, expected = ours(), theirs.monitor_.history[-1]
        if abs(found - expected) > AGREEMENT * abs(expected):
            raise RuntimeError(f"log-likelihoods are {found} and {expected}: no time means much")
        ratio, seconds = paired_ratio(
            Work(lambda how=implementation: peer(start, iterations, how).fit(column, lengths)),
            Work(ours, iterations),
            repeats,
        )
        times = ratio.median / iterations
        verdict = "" if implementation != "log" else "met" if times >= BAR else "NOT MET"
        print(
            f"| EM, {n_states} states, {n_values:,} values, {len(column):,} tokens, hmmlearn "
            f'"{implementation}": times faster | ≥ {BAR:g} | {times:.1f} '
            f"| {1e3 * seconds.median:.1f} ms an iteration | {verdict} |"
        )


def long_contexts():
    """Print how long a context of 20,000 tokens takes, and the trace of a loop of 1,000."""
    rng = np.random.default_rng(0)
    truth = tables(rng, 3, 8)
    values = {name: torch.from_numpy(value) for name, value in truth.items()}
    model, context = hidden_markov(3, 8), draw(rng, truth, np.array([20_000]))
    posterior(model, context.slice(0, 1).prefixes().take(np.array([5])), values=values)
    world = load_model("switching_languages")
    rows = (
        ("posterior of a context of 20,000 tokens", SECONDS_BAR, posterior, (model, context)),
        ("compile switching_languages at 1,000 tokens", TRACE_BAR, compile_model, (world, 1000)),
    )
    for name, bar, call, arguments in rows:
        options = {"values": values} if call is posterior else {"lengths": ()}
        wall, own = time.perf_counter(), time.process_time()
        call(*arguments, **options)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        verdict = "met" if own <= bar else "NOT MET"
        print(f"| {name} | ≤ {bar:g} s | {own:.2f} s of processor | {wall:.2f} s | {verdict} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="without the million tokens")
    small = parser.parse_args().small
    torch.set_num_threads(1)
    print("| what | bar | reached | ours | |")
    print("|---|---|---|---|---|")
    long_contexts()
    em((3, 10, 500, 14), 6, 20)
    em((2, 10, 1000, 61), 6, 20)
    if not small:
        em((20, 1000, 1000, 1000), 2, 1)


if __name__ == "__main__":
    main()
