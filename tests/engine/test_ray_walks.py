"""Walks and PowerWalk's index in shards on a Ray cluster: the same bits as on one machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'sartor[ray]'")

from sartor.engine import ray_batch
from sartor.engine.ray_walks import index_in_shards, walks_in_shards
from sartor.errors import ConfigError, FileProblem, UnknownId
from sartor.retrieve.graph.generated import block_graph
from sartor.retrieve.graph.powerwalk import PowerWalk
from sartor.retrieve.graph.walks import walks


def test_shards_are_the_walks_of_one_machine(tmp_path: Path) -> None:
    graph, _ = block_graph(600, 3000, communities=6, seed=3)
    file = graph.save(tmp_path / "graph")
    starts = np.random.default_rng(0).integers(0, 600, 1000)
    settings = {"restart": 0.1, "decay": 0.05, "backtrack": False, "seed": 9}
    with ray_batch.cluster(2):
        paths = walks_in_shards(file, starts, 7, shard=300, workers=2, **settings)
        index = index_in_shards(file, walks=11, seed=4, shard=170, workers=2, budget=4000)
    np.testing.assert_array_equal(paths, walks(graph, starts, 7, **settings))
    whole = PowerWalk(graph, walks=11, seed=4, budget=4000)
    np.testing.assert_array_equal(index.visits, whole.visits)
    np.testing.assert_array_equal(index.scores([[5], [7, 8]]), whole.scores([[5], [7, 8]]))


def test_mistakes_are_named_before_there_is_a_cluster(tmp_path: Path) -> None:
    graph, _ = block_graph(60, 200, communities=3)
    file = graph.save(tmp_path / "graph")
    with pytest.raises(FileProblem):
        walks_in_shards(tmp_path / "nothing", np.zeros(3), 4)
    with pytest.raises(ConfigError, match="restart"):
        walks_in_shards(file, np.zeros(3), 4, restart=1.5)
    with pytest.raises(UnknownId, match="60 nodes"):
        walks_in_shards(file, np.array([3, 60]), 4)
    with pytest.raises(ConfigError, match="shard"):
        walks_in_shards(file, np.zeros(3), 4, shard=0)
    with pytest.raises(ConfigError, match="budget 0"):
        index_in_shards(file, budget=0)
