"""The same work on a Ray cluster: for those who outgrow one machine.

Workers open the store and the models themselves (both must be reachable from all machines: PostgreSQL, a shared folder), so people's
evidence never passes through Ray. The master key comes from the environment of the workers, never from the arguments of a task.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sartor.engine.als_shards import Events, PeopleShard
from sartor.errors import MissingExtra

OBJECT_STORE = 100_000_000
"""Bytes of shared memory of a cluster that we start ourselves: shards are small, and results go to files."""


def _ray() -> Any:
    try:
        # Ray reports usage to its makers unless it is told not to, before it is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # By default its workers get the lowest priority but four: on a machine that does anything else they starve.
        os.environ.setdefault("RAY_worker_niceness", "0")
        import ray
    except ImportError as missing:
        raise MissingExtra("ray", "ray") from missing
    return ray


@contextmanager
def cluster(workers: int, address: str | None = None) -> Iterator[None]:
    """A connection to a cluster: the one at `address` (or `RAY_ADDRESS`), else one of `workers` processes on this machine, ended afterwards."""
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    own = {} if address else {"num_cpus": workers, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
    ray.init(address=address, log_to_driver=False, logging_level="error", configure_logging=True, **own)
    try:
        yield
    finally:
        ray.shutdown()


class Actors:
    """ALS shards, each in a process of the cluster (`als_shards.Group`)."""

    def __init__(self, events: Iterator[Events]) -> None:
        self.ray = _ray()
        # One thread each: the cluster has as many actors as it has processors.
        remote = self.ray.remote(num_cpus=1)(PeopleShard)
        self.shards = [remote.remote(one) for one in events]

    def call(self, name: str, *arguments: Any) -> Iterator[Any]:
        """Results in the order of the shards; arguments are sent to each machine once."""
        sent = [self.ray.put(one) if hasattr(one, "nbytes") else one for one in arguments]
        waiting = [getattr(shard, name).remote(*sent) for shard in self.shards]
        return (self.ray.get(one) for one in waiting)

    def close(self) -> None:
        """End the processes."""
        for shard in self.shards:
            self.ray.kill(shard)


def over_shards(make: Callable[[], Any], shards: Sequence[Any], workers: int) -> Iterator[Any]:
    """Results of `make()(shard)` for every shard, as they are done; `make` is called once in each of the `workers` processes.

    Shards are handed out one by one: who is done first takes the next, and a worker that dies has its shard done again by another.
    """
    ray = _ray()

    class Worker:
        def __init__(self) -> None:
            self.work = make()

        def do(self, shard: Any) -> Any:
            return self.work(shard)

    remote = ray.remote(num_cpus=1, max_restarts=2, max_task_retries=2)(Worker)
    actors = [remote.remote() for _ in range(min(workers, len(shards)))]
    try:
        yield from ray.util.ActorPool(actors).map_unordered(lambda actor, shard: actor.do.remote(shard), shards)
    finally:
        for actor in actors:
            ray.kill(actor)
