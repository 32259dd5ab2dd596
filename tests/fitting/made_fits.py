"""A program with unknown tables, tokens of it, and fits that were made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd

from concept_ppl import load_model, simulate
from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.fitting.fits.fits import Fit
from concept_ppl.fitting.fits.observations import Observations, observations
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood

PROGRAM = '''
"""A topic, and words and a next token that depend on it."""
import pyro, pyro.distributions as dist, torch
from pyro.ops.indexing import Vindex

def model(n_tokens):
    share = pyro.sample("share", dist.Dirichlet(torch.ones(2)))
    words = pyro.sample("words", dist.Dirichlet(torch.ones(2, 4)).to_event(1))
    topic = pyro.sample("topic", dist.Categorical(share))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(words)[topic]))
    pyro.sample("y", dist.Categorical(Vindex(torch.eye(2) * 0.6 + 0.2)[topic]))
'''
SHARE = np.array([0.3, 0.7])
WORDS = np.array([[0.6, 0.2, 0.1, 0.1], [0.1, 0.1, 0.3, 0.5]])
CONCENTRATION = 1000  # narrower than any posterior here: every Pareto k is small


def write_program(folder: Path) -> str:
    (folder / "topics.py").write_text(PROGRAM)
    return str(folder / "topics.py")


def made_tokens(program: str, n: int = 60, seed: int = 0) -> pd.DataFrame:
    model = load_model(program)
    values = {"share": SHARE, "words": WORDS}
    return simulate(model, n, lengths=(0, 5), seed=seed, values=values)


def made_fit(
    program: str,
    tokens: pd.DataFrame,
    *,
    n_chains: int = 2,
    n_draws: int = 150,
    swapped: bool = True,
) -> tuple[Fit, Observations]:
    """Draws around the truth, in the second chain with their labels swapped."""
    model = load_model(program)
    rng = np.random.default_rng(0)
    shape = (n_chains, n_draws)
    matched = {
        "share": np.stack([rng.dirichlet(CONCENTRATION * SHARE, n_draws) for _ in range(n_chains)]),
        "words": np.stack(
            [
                np.stack(
                    [[rng.dirichlet(CONCENTRATION * row) for row in WORDS] for _ in range(n_draws)]
                )
                for _ in range(n_chains)
            ]
        ),
    }
    match = np.broadcast_to(np.arange(2), (*shape, 2)).copy()
    draws = {name: table.copy() for name, table in matched.items()}
    if swapped:
        match[1:] = match[1:, :, ::-1]
        draws = {
            "share": np.concatenate([matched["share"][:1], matched["share"][1:, :, ::-1]]),
            "words": np.concatenate([matched["words"][:1], matched["words"][1:, :, ::-1]]),
        }
    observed = observations(model, tokens, as_contexts(tokens))
    likelihood = make_likelihood(model, tokens)
    log_likelihood = np.stack(
        [
            [likelihood.each(_tensors(matched, chain, draw)) for draw in range(n_draws)]
            for chain in range(n_chains)
        ]
    )
    fit = Fit(
        method="nuts",
        model=program,
        build={},
        options={"seed": 0, "n_chains": n_chains},
        shapes={"share": (2,), "words": (2, 4)},
        draws=draws,
        matches={"topic": match},
        matched=matched,
        sample_stats={"lp": rng.normal(size=shape), "diverging": np.zeros(shape, bool)},
        log_likelihood=log_likelihood,
        log_evidence=log_likelihood.sum(-1),
        n_parameters=7,
        n_contexts=len(tokens),
        n_tokens=int(tokens["x"].map(len).sum()),
        history=(np.arange(3.0), np.arange(4.0)),
        warmup={"step_size": np.array([0.1, 0.2])},
    )
    return fit, observed


def _tensors(matched, chain, draw):
    import torch

    return {name: torch.as_tensor(table[chain, draw]) for name, table in matched.items()}
