"""Posteriors of small random networks by pgmpy: run by hand, writes ``pgmpy_networks.json``.

    python tests/reference/pgmpy_networks.py

The file holds the tables beside pgmpy's answers, so that the test needs neither pgmpy nor the same
random numbers. About a third of the cells of every other network are structural zeros.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pgmpy
from pgmpy.factors.discrete import TabularCPD
from pgmpy.inference import VariableElimination
from pgmpy.models import DiscreteBayesianNetwork

OUTPUT = Path(__file__).with_suffix(".json")
N_NETWORKS = 8
N_TOKENS = 3
VOCABULARY = 3
N_CONTEXTS = 6


def random_network(rng: np.random.Generator, *, zeros: bool) -> list[dict[str, Any]]:
    """Return the nodes: name, parents, and p(node | parents), shape (*parents, n_values)."""
    sizes: dict[str, int] = {}
    nodes = []
    for i in range(int(rng.integers(3, 6))):
        name, size = f"c{i}", int(rng.integers(1 if i else 2, 4))
        nodes.append(random_node(rng, name, size, random_parents(rng, sizes), zeros=zeros))
        sizes[name] = size
    read = random_parents(rng, sizes) or {"c0": sizes["c0"]}
    return [*nodes, random_node(rng, "x", VOCABULARY, read, zeros=zeros)]


def random_parents(rng: np.random.Generator, sizes: dict[str, int]) -> dict[str, int]:
    count = min(len(sizes), int(rng.integers(0, 4)))
    chosen = sorted(rng.choice(list(sizes), count, replace=False)) if count else []
    return {str(name): sizes[name] for name in chosen}


def random_node(
    rng: np.random.Generator, name: str, size: int, parents: dict[str, int], *, zeros: bool
) -> dict[str, Any]:
    rows = rng.dirichlet(np.ones(size), math.prod(parents.values()))
    if zeros:
        kept = rng.random(rows.shape) > 1 / 3
        kept[np.arange(len(rows)), rows.argmax(1)] = True
        rows = np.where(kept, rows, 0.0)
        rows /= rows.sum(1, keepdims=True)
    table = rows.reshape(*parents.values(), size)
    return {"name": name, "parents": list(parents), "table": table.tolist()}


def as_pgmpy(nodes: list[dict[str, Any]]) -> DiscreteBayesianNetwork:
    """Return the network with the token at each position as a node of its own."""
    sizes = {node["name"]: np.shape(node["table"])[-1] for node in nodes}
    network = DiscreteBayesianNetwork()
    for node in nodes:
        names = [f"x_{t}" for t in range(N_TOKENS)] if node["name"] == "x" else [node["name"]]
        for name in names:
            network.add_node(name)
            network.add_edges_from([(parent, name) for parent in node["parents"]])
            size = sizes[node["name"]]
            columns = np.asarray(node["table"]).reshape(-1, size).T
            evidence_card = [sizes[parent] for parent in node["parents"]]
            network.add_cpds(TabularCPD(name, size, columns, node["parents"], evidence_card))
    assert network.check_model()
    return network


def answers(nodes: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return pgmpy's p(x), p(c_i | x) and p(c | x) for contexts that the network can produce."""
    engine = VariableElimination(as_pgmpy(nodes))
    tokens = [f"x_{t}" for t in range(N_TOKENS)]
    concepts = [node["name"] for node in nodes if node["name"] != "x"]
    told = []
    for _ in range(N_CONTEXTS):
        seen = tokens[: int(rng.integers(1, N_TOKENS + 1))]
        p_x = ordered(engine.query(seen, show_progress=False), seen)
        flat = rng.choice(p_x.size, p=p_x.ravel() / p_x.sum())
        context = [int(token) for token in np.unravel_index(flat, p_x.shape)]
        evidence = dict(zip(seen, context, strict=True))
        joint = engine.query(concepts, evidence, show_progress=False)
        single = {
            name: engine.query([name], evidence, show_progress=False).values.tolist()
            for name in concepts
        }
        told.append(
            {
                "x": context,
                "evidence": float(p_x[tuple(context)]),
                "marginals": single,
                "joint": ordered(joint, concepts).ravel().tolist(),
            }
        )
    return told


def ordered(factor: Any, names: list[str]) -> np.ndarray:
    """Return the factor's values with its variables in the given order."""
    return np.transpose(factor.values, [factor.variables.index(name) for name in names])


def main() -> None:
    """Draw the networks, ask pgmpy, write the file."""
    rng = np.random.default_rng(20260101)
    networks = []
    for number in range(N_NETWORKS):
        nodes = random_network(rng, zeros=number % 2 == 1)
        networks.append({"nodes": nodes, "answers": answers(nodes, rng)})
    text = json.dumps({"pgmpy": pgmpy.__version__, "networks": networks}, indent=1)
    OUTPUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
