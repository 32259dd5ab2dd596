"""One profile for every generated program: the same examples in every run, and no time limit.

And Ray as it is in tests: on this machine, with little memory, silent.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "exact",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("exact")

os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # Ray reads it when it is imported
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Beside other tests, workers would hardly be let run.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (the name that Ray has for it)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster of one node with one processor; ``add_node(**cluster.node)`` adds another."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    head = {**node, "include_dashboard": False}
    running = Cluster(initialize_head=True, head_node_args=head)
    running.node = node
    yield running
    running.shutdown()
