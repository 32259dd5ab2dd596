"""The joint posterior of many concepts is told within the budget, or refused before any work."""

import os
import subprocess
import sys

import pytest

from concept_ppl import load_model
from concept_ppl.errors import MemoryBudgetError
from concept_ppl.inference.posteriors import posterior


def test_a_joint_too_large_is_refused_before_anything_is_computed(monkeypatch):
    def never(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr("concept_ppl.inference.engines._engine", never)
    tree = load_model("concept_tree", concepts=40)
    bytes_needed = (
        r"1,099,511,627,776 joint values takes [\d,]{18,} bytes, the budget is 2,000,000,000"
    )
    with pytest.raises(MemoryBudgetError, match=bytes_needed):
        posterior(tree, [[0] * 40], joint=True)
    small = load_model("topic_mixture")
    with pytest.raises(MemoryBudgetError, match="100 contexts over 4 joint values takes"):
        posterior(small, [[0]] * 100, joint=True, memory=5000)


LIMITED = """
import resource, sys
import numpy as np
import torch
from concept_ppl import compile_model, load_model, posterior

torch.set_num_threads(1)
graph = compile_model(load_model("concept_tree", concepts=20, seed=3), 20)
contexts = np.random.default_rng(0).integers(0, 8, (12, 20)).tolist()
posterior(graph, contexts[:1])  # what is loaded or cached on first use is not the budget's
pages = int(open("/proc/self/statm").read().split()[0])
allowed = pages * resource.getpagesize() + int(float(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_AS, (allowed, resource.RLIM_INFINITY))
done = []
answer = posterior(
    graph, contexts, joint=True, memory=float(sys.argv[1]), engine=sys.argv[3],
    progress=lambda n, _: done.append(n),
)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print(done)
joint = answer.log_joint.reshape(12, *[2] * 20)
assert float((joint.flatten(1).logsumexp(1)).abs().max()) < 1e-10
values = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (10, 20)))
for c in values:
    place = dict(zip(graph.concepts, c.tolist()))
    prior = sum(f.table[tuple(place[n] for n in f.scope)] for f in graph.priors)
    for row, context in enumerate(contexts):
        told = sum(
            e.tokens.table[0][tuple(place[n] for n in e.scope)][context[e.start]]
            for e in graph.emissions
        )
        expected = prior + told - answer.log_evidence[row]
        assert abs(float(joint[(row, *c)] - expected)) < 1e-10
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dense", "elimination"])
def test_a_joint_of_a_million_values_is_answered_in_chunks_that_keep_to_the_budget(engine):
    def run(memory, limit):
        command = [sys.executable, "-c", LIMITED, str(memory), str(limit), engine]
        # Freed tables go back at once, so that address space is what is in use.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    outcome = run(2.6e8, 2.7e8)
    assert outcome.returncode == 0, outcome.stderr
    assert len(outcome.stdout.split(",")) >= 4
    # The same limit stops an answer that may take more, so that the limit is known to bite.
    assert "alloc" in run(4e9, 2.7e8).stderr
