"""Ray as it is here: on loopback, with little memory, silent."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # Ray reads it when it is imported
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # beside other tests, workers would hardly be let run

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of one node with one processor; tests add others."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    running = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield running
    running.shutdown()
