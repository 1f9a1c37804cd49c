"""Random walks, and PowerWalk's index of them, in shards on a Ray cluster: bit for bit what one machine gives.

Workers open the graph themselves, from a file that all machines can reach, and map it into memory: of a shard only node numbers go out
and walks come back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sartor.engine import ray_batch
from sartor.errors import ConfigError
from sartor.parts.random_walks import check_walks
from sartor.parts.threads import limit
from sartor.retrieve.graph.csr import Graph
from sartor.retrieve.graph.powerwalk import PowerWalk
from sartor.retrieve.graph.stored_walks import stored_walks, walk_ends
from sartor.retrieve.graph.walks import walks


def walks_in_shards(
    file: str | Path, starts: np.ndarray, length: int, *, shard: int = 100_000, workers: int = 2, address: str | None = None, **settings: Any
) -> np.ndarray:
    """`walks` of the graph that `Graph.save` wrote to a file: int32 [walks, length + 1].

    shard: walks done at once by one worker. workers, address: as `ray_batch.cluster` has them. settings: those of `walks`, without `numbers`.
    """
    path = str(Path(file).resolve())
    starts = np.asarray(starts, np.int64)
    # What is wrong is said here, before there is a cluster.
    check_walks(len(Graph.load(path)), starts, length, restart=settings.get("restart", 0.0), decay=settings.get("decay", 0.0))
    out = np.empty((starts.size, length + 1), np.int32)

    def make() -> Any:
        graph = Graph.load(path)

        def work(part: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
            first, own = part
            with limit(1):
                return first, walks(graph, own, length, numbers=np.arange(first, first + own.size), **settings)

        return work

    parts = [(first, starts[first : first + shard]) for first in _firsts(starts.size, shard)]
    with ray_batch.cluster(workers, address):
        for first, paths in ray_batch.over_shards(make, parts, workers):
            out[first : first + len(paths)] = paths
    return out


def index_in_shards(
    file: str | Path, *, walks: int = 50, restart: float = 0.15, seed: int = 0, shard: int = 50_000, workers: int = 2,
    address: str | None = None, **settings: Any,
) -> PowerWalk:  # fmt: skip
    """`PowerWalk` of the graph that `Graph.save` wrote to a file, its walks made by the cluster.

    shard: nodes done at once by one worker. The other settings: those of `PowerWalk` and of `ray_batch.cluster`.
    """
    path = str(Path(file).resolve())
    graph = Graph.load(path)
    # As above.
    PowerWalk(Graph.from_edges(([0], [1])), walks=walks, restart=restart, seed=seed, **settings)
    ends = walk_ends(walks, restart)

    def make() -> Any:
        own = Graph.load(path)

        def work(first: int) -> tuple[int, np.ndarray]:
            with limit(1):
                return first, stored_walks(own, ends, seed, np.arange(first, min(first + shard, len(own))))

        return work

    visits = np.empty((len(graph), int(ends[-1])), np.int32)
    with ray_batch.cluster(workers, address):
        for first, rows in ray_batch.over_shards(make, _firsts(len(graph), shard), workers):
            visits[first : first + len(rows)] = rows
    return PowerWalk(graph, walks=walks, restart=restart, seed=seed, visits=visits, **settings)


def _firsts(size: int, shard: int) -> range:
    if shard < 1:
        raise ConfigError(f"a shard of {shard}", fix="use at least 1")
    return range(0, size, shard)
