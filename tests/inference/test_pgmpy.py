"""Posteriors of random networks are those that pgmpy stored; see ``tests/reference``."""

import json
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

TOLERANCE = 1e-9
STORED = json.loads(
    Path(__file__).parents[1].joinpath("reference", "pgmpy_networks.json").read_text("utf-8")
)
NETWORKS = STORED["networks"]


def program(nodes):
    """Return the network as a plain Pyro function of the number of tokens."""
    logits = {n["name"]: torch.tensor(n["table"], dtype=torch.float64).log() for n in nodes}

    def model(n_tokens):
        drawn = {}

        def distribution(node):
            table = logits[node["name"]]
            index = tuple(drawn[parent] for parent in node["parents"])
            return dist.Categorical(logits=Vindex(table)[index] if index else table)

        *concepts, token = nodes
        for node in concepts:
            drawn[node["name"]] = pyro.sample(node["name"], distribution(node))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", distribution(token))

    return model


def test_the_stored_networks_hold_zeros_single_values_and_several_parents():
    tables = [np.asarray(node["table"]) for n in NETWORKS for node in n["nodes"]]
    assert len(NETWORKS) >= 5
    assert sum(any((np.asarray(n["table"]) == 0).any() for n in w["nodes"]) for w in NETWORKS) >= 3
    assert max(table.ndim for table in tables) >= 3
    assert min(table.shape[-1] for table in tables) == 1
    zeros = [p == 0 for n in NETWORKS for a in n["answers"] for p in a["joint"]]
    assert 0 < np.mean(zeros) < 1


@pytest.mark.parametrize("engine", ["dense", "elimination"])
@pytest.mark.parametrize("number", range(len(NETWORKS)))
def test_every_posterior_is_that_of_pgmpy(number, engine):
    network = NETWORKS[number]
    told = network["answers"]
    graph = compile_model(program(network["nodes"]), 3)
    answer = posterior(graph, [row["x"] for row in told], joint=True, engine=engine)

    def assert_equal(log_p, expected):
        expected = np.asarray(expected)
        p = log_p.exp().numpy()
        np.testing.assert_array_equal(p == 0, expected == 0)
        np.testing.assert_allclose(p, expected, rtol=0, atol=TOLERANCE)
        logs = log_p.numpy()[expected > 0]
        np.testing.assert_allclose(logs, np.log(expected[expected > 0]), rtol=0, atol=TOLERANCE)

    assert_equal(answer.log_evidence, [row["evidence"] for row in told])
    assert_equal(answer.log_joint, [row["joint"] for row in told])
    for name, log_p in answer.log_marginals.items():
        assert_equal(log_p, [row["marginals"][name] for row in told])
