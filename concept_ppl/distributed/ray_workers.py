"""Workers on a Ray cluster: actors, each with one processor or its GPUs, placed node by node.

Ray finds the nodes, starts the processes and carries arguments and answers; it is told where each
worker goes, so that a node that lacks something is left out and said, and one that died or joined
is noticed. What runs there travels by value and is opened by the worker itself: a worker without
the package can say so.
"""

import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from concept_ppl.errors import InputError

from .attempts import Done, Failure, Prepare
from .crews import Worker
from .environments import differences, environment
from .machines import STARTED_HERE, Machines
from .ray_node import actor_class, describe_node

PATIENCE_SECONDS = 600.0
"""Without any node that can work; a cluster that grows on demand takes minutes."""
LEAST_STORE, MOST_STORE = 100 * 2**20, 2 * 2**30
"""Bytes of the object store of a cluster that is started here: answers pass through it."""


@contextmanager
def cluster(machines: Machines) -> Iterator["RayCrew"]:
    """Join a cluster or start one here, and yield who works there; leave it as it was."""
    ray = _ray()
    mine = not ray.is_initialized()
    if mine:
        _join(ray, machines)
    try:
        if machines.workers is not None and machines.ray != STARTED_HERE:
            _ask_for_nodes(ray, machines)
        yield _crew(ray, machines)
    finally:
        if mine:
            ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray prints what it notices of its nodes into stdout, which is for results alone.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            'Ray is not installed; install it with pip install "concept-ppl[ray]".'
        ) from error
    return ray


def _join(ray: Any, machines: Machines) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if machines.ray == STARTED_HERE:
            free = psutil.virtual_memory().available // 10
            ray.init(
                address="local",
                num_cpus=machines.workers,
                object_store_memory=int(min(max(free, LEAST_STORE), MOST_STORE)),
                include_dashboard=False,
                **options,
            )
        else:
            ray.init(address=machines.ray, **options)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        place = "here" if machines.ray == STARTED_HERE else f"at {machines.ray}"
        reason = (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
        raise InputError(
            f"Ray cannot be reached {place} ({reason}); start it with ray start --head, and give "
            "the address that it prints on a machine of that cluster."
        ) from error


def _ask_for_nodes(ray: Any, machines: Machines) -> None:
    """Let a cluster that grows on demand make room for the workers that were asked for."""
    from ray.autoscaler import sdk  # noqa: PLC0415

    del ray
    wanted: dict[str, float] = {"CPU": 1.0}
    if machines.gpus:
        wanted["GPU"] = machines.gpus
    with suppress(Exception):  # a cluster of fixed size has nobody to ask
        sdk.request_resources(bundles=[wanted] * (machines.workers or 1))


def _crew(ray: Any, machines: Machines) -> "RayCrew":
    """Ask each node what it computes with, and take those that agree."""
    crew = RayCrew(ray, machines, environment())
    found: dict[str, Mapping[str, str]] = {}
    asked = {crew.describe(node): node for node in crew.nodes()}
    ready, _ = ray.wait(list(asked), num_returns=max(len(asked), 1), timeout=PATIENCE_SECONDS)
    for reference in ready:  # one that is busy is asked again by its first worker
        try:
            answer = ray.get(reference)
        except Exception as error:  # whatever Ray raises: it could not be asked
            answer = crew.lost(asked[reference], error)
        if isinstance(answer, str):
            crew.exclude(asked[reference], answer)
        else:
            found[asked[reference]] = answer
    if found:
        crew.environment = _common(list(found.values()), environment(gpu=machines.gpus > 0))
    elif asked and not crew.nodes():
        raise InputError(" ".join(dict.fromkeys(crew.excluded.values())))
    return crew


def _common(found: Sequence[Mapping[str, str]], own: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment of this process if a node has it, else that of most nodes."""
    if any(not differences(one, own) for one in found):
        return own
    counts: Counter[tuple[tuple[str, str], ...]] = Counter(
        tuple(sorted(one.items())) for one in found
    )
    most = min(counts, key=lambda one: (-counts[one], one))
    return dict(most)


@dataclass
class RayCrew:
    """Who works on a cluster.

    Attributes
    ----------
    ray
        The module, initialised.
    machines
        What was asked for.
    environment
        What workers compute with; a node with another one is left out.
    excluded
        Nodes that are left out, and why.
    """

    ray: Any
    machines: Machines
    environment: Mapping[str, str]
    excluded: dict[str, str] = field(default_factory=dict)
    _packed: tuple[Prepare, Any] | None = None
    """What workers were last hired for, and where the cluster keeps it for them."""

    @property
    def patience(self) -> float:
        """Seconds without any worker: none where every machine that is there was left out."""
        there = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        return 0.0 if there & self.excluded.keys() and not self.nodes() else PATIENCE_SECONDS

    @cached_property
    def actor(self) -> Any:
        """The class of the workers."""
        return self.ray.remote(actor_class(self.environment["concept-ppl"]))

    def nodes(self) -> dict[str, int]:
        """Return the living nodes that are not left out, and how many workers each has room for."""
        room = {}
        for node in self.ray.nodes():
            resources = node["Resources"]
            n = int(resources.get("CPU", 0))
            if self.machines.gpus:
                n = min(n, int(resources.get("GPU", 0) / self.machines.gpus))
            if node["Alive"] and node["NodeID"] not in self.excluded and n:
                room[node["NodeID"]] = n
        return dict(sorted(room.items()))

    def hire(self, prepare: Prepare, have: Counter[str], wanted: int) -> Sequence[Worker]:
        """Return the workers that are missing, dealt to the nodes with most room."""
        room = self.nodes()
        limit = min(wanted, self.machines.workers or wanted)
        free = Counter({node: n - have[node] for node, n in room.items()})
        hired: list[Worker] = []
        for _ in range(limit - sum(have[node] for node in room)):
            node, n = max(free.items(), key=lambda item: item[1], default=("", 0))
            if n < 1:
                break
            free[node] -= 1
            hired.append(self._worker(node, prepare))
        return hired

    def exclude(self, place: str, why: str) -> None:
        """Hire nobody on this node any more, and say so."""
        self.excluded[place] = f"{self.name(place)}: {why}"
        self.machines.announce(f"left out, {self.excluded[place]}")

    def lost(self, place: str, error: BaseException) -> str:
        """Say why a worker was lost."""
        if isinstance(error, self.ray.exceptions.OutOfMemoryError):
            return f"there is not enough memory on {self.name(place)}; its worker was ended."
        kind = type(error).__name__
        return f"its worker on {self.name(place)} died, or the node did ({kind})."

    def describe(self, node: str) -> Any:
        """Ask a node for its environment; a sentence in its place says why it cannot work."""
        task = self.ray.remote(describe_node(self.environment["concept-ppl"]))
        options = {**self._at(node), "num_cpus": 0, "max_retries": 0}
        return task.options(**options).remote(self.machines.gpus > 0)

    def name(self, node: str) -> str:
        """Return what messages call a node."""
        known = {one["NodeID"]: one["NodeManagerAddress"] for one in self.ray.nodes()}
        return f"node {known.get(node, '')} ({node[:8]})"

    def _worker(self, node: str, prepare: Prepare) -> "RayWorker":
        if self._packed is None or self._packed[0] is not prepare:
            work = self.ray.cloudpickle.dumps(prepare)
            packed = pickle.dumps((dict(self.environment), str(Path.cwd()), work))
            self._packed = (prepare, self.ray.put(packed))
        options = {"max_restarts": 0, "max_task_retries": 0, **self._at(node)}
        return RayWorker(self, node, self.actor.options(**options).remote(), self._packed[1])

    def _at(self, node: str) -> dict[str, Any]:
        """Return the options of Ray that put something on one node, with what it needs."""
        from ray.util.scheduling_strategies import (  # noqa: PLC0415
            NodeAffinitySchedulingStrategy,
        )

        return {
            "num_cpus": 1,
            "num_gpus": self.machines.gpus,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        }


@dataclass
class RayWorker:
    """An actor on a node."""

    crew: RayCrew
    place: str
    actor: Any
    packed: Any

    def start(self) -> "Future[Done | Failure]":
        """Let it open what it is to do, and get ready."""
        return self._future(self.actor.start.remote(self.packed, self.crew.machines.gpus > 0))

    def ask(self, argument: Any) -> "Future[Done | Failure]":
        """Let it answer."""
        return self._future(self.actor.ask.remote(argument))

    def end(self) -> None:
        """End the actor at once."""
        with suppress(Exception):  # it may be dead, or its cluster
            self.crew.ray.kill(self.actor)

    def _future(self, reference: Any) -> "Future[Done | Failure]":
        """Return what comes; a node without the package has only a sentence to send."""
        future: Future[Done | Failure] = Future()

        def pass_on(found: "Future[Any]") -> None:
            if (error := found.exception()) is not None:
                future.set_exception(error)
                return
            result = found.result()
            future.set_result(Failure(result) if isinstance(result, str) else result)

        reference.future().add_done_callback(pass_on)
        return future
