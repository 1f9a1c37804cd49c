"""Graph store, walks, exact personalised PageRank and PowerWalk's index: equal to closed forms, to scipy, and to themselves after changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, MissingColumn, StaleIndex, UnknownId
from sartor.parts.threads import limit
from sartor.retrieve.graph.csr import Graph
from sartor.retrieve.graph.generated import block_graph
from sartor.retrieve.graph.powerwalk import PowerWalk
from sartor.retrieve.graph.ppr import PowerIteration, SeedBatch, found_share
from sartor.retrieve.graph.walks import repaired, walks


def closed_form(graph: Graph, seeds: np.ndarray, restart: float = 0.15) -> np.ndarray:
    """Personalised PageRank by a dense solve; a walker at a node without edges starts over at the seeds."""
    p = graph.transition().toarray()
    p[p.sum(axis=1) == 0] = seeds
    return np.linalg.solve(np.eye(len(graph)) - (1 - restart) * p.T, restart * seeds)


@st.composite
def small_graphs(draw: Any) -> Graph:
    n = draw(st.integers(2, 12))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=40))
    weights = draw(st.none() | st.lists(st.floats(0.1, 5), min_size=len(pairs), max_size=len(pairs)))
    sources, targets = np.array(pairs).T
    return Graph.from_edges((sources, targets, weights), nodes=np.arange(n), directed=draw(st.booleans()))


@given(small_graphs(), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_power_iteration_is_the_closed_form(graph: Graph, at: int) -> None:
    node = at % len(graph)
    truth = closed_form(graph, np.eye(len(graph))[node])
    found = PowerIteration(graph).scores([[node]], tolerance=1e-12)[0]
    np.testing.assert_allclose(found, truth, atol=1e-6 if graph.weights is not None else 1e-10)


@given(small_graphs(), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_index_agrees_and_loses_no_weight(graph: Graph, at: int) -> None:
    node = at % len(graph)
    index = PowerWalk(graph, walks=400, rounds=3)
    found = index.scores([{node: 2.0}], budget=4000)[0]
    assert found.sum() == pytest.approx(1, abs=1e-4)
    assert np.abs(found - closed_form(graph, np.eye(len(graph))[node])).sum() < 0.12


def test_equal_to_scipys_power_iteration_with_weights_and_directions() -> None:
    rng = np.random.default_rng(0)
    dense = rng.random((60, 60)) * (rng.random((60, 60)) < 0.1)
    dense[7] = 0
    graph = Graph.from_matrix(csr_matrix(dense))
    assert graph.directed
    seeds = np.zeros(60)
    seeds[[3, 7]] = 0.25, 0.75
    reverse, x = graph.transition().T.tocsr(), seeds
    for _ in range(400):
        moved = 0.85 * (reverse @ x)
        x = moved + (1 - moved.sum()) * seeds
    np.testing.assert_allclose(PowerIteration(graph).scores([{3: 1.0, 7: 3.0}], tolerance=1e-12)[0], x, atol=1e-6)


@pytest.fixture(scope="module")
def large() -> Graph:
    return block_graph(3000, 20_000, communities=10, seed=1)[0]


def test_rounds_and_walks_make_it_better(large: Graph) -> None:
    nodes = np.flatnonzero(large.degrees > 0)[:20].astype(np.int64)
    batch = SeedBatch(np.arange(21), nodes, np.ones(20), np.zeros(20, np.int64))
    truth = PowerIteration(large).scores(batch)
    few, many = PowerWalk(large, walks=10, rounds=2), PowerWalk(large, walks=100, rounds=2)
    error = [np.abs(index.scores(batch, budget=10**12) - truth).sum(axis=1).mean() for index in (few, many)]
    assert error[1] < 0.6 * error[0]
    assert np.abs(many.fingerprints(nodes) - truth).sum(axis=1).mean() > 2 * error[1]
    assert found_share(many.scores(batch, budget=32_000), truth).mean() > 0.99


def test_plan_takes_power_iteration_above_the_crossover(large: Graph) -> None:
    index = PowerWalk(large, budget=2000)
    loose, strict = index.plan(0.9), index.plan(0.99999)
    assert loose.budget > 0
    assert strict.budget == 0
    assert strict.iterations > 4
    assert loose.cost < strict.cost
    node = int(np.flatnonzero(large.degrees > 2)[0])
    found = index.search([[node]], 20, goodness=0.99999)
    truth = PowerIteration(large).scores([[node]])
    assert "power iterations" in found.plan
    assert found_share(np.isin(np.arange(3000), found.ranking.indices[0])[None].astype(float), truth, 20)[0] > 0.999


def test_repair_is_what_building_anew_gives(large: Graph) -> None:
    index = PowerWalk(large, walks=20)
    first = int(np.flatnonzero(large.degrees > 3)[0])
    gone = int(large.indices[large.indptr[first]])
    later = large.changed(add=([5, 3001, 17], [900, 5, 2000]), remove=([first], [gone]))
    assert (later.version, len(later)) == (2, 3001)
    with pytest.raises(StaleIndex, match=r"version 1 .* version 2"):
        index.search([[5]], graph=later)
    looked_at = index.repair(later)
    assert 3 < looked_at < 2500
    np.testing.assert_array_equal(index.visits, PowerWalk(later, walks=20).visits)
    assert index.search([[3001]], 5, graph=later).ranking[0]


@given(small_graphs(), st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_change_is_repaired_exactly(graph: Graph, pairs: list[tuple[int, int]]) -> None:
    sources, targets = np.array(pairs).T
    later = graph.changed(add=(sources, targets))
    index = PowerWalk(graph, walks=12)
    index.repair(later)
    np.testing.assert_array_equal(index.visits, PowerWalk(later, walks=12).visits)
    # And back again: what was added is taken away, where it was not there before.
    new = [pair for pair in set(pairs) if max(pair) >= len(graph) or not graph.matrix()[pair[0], pair[1]]]
    if new and graph.weights is None:
        back = later.changed(remove=tuple(np.array(new).T))
        assert back.arcs == graph.arcs
        np.testing.assert_array_equal(back.indices, graph.indices)


def test_answers_do_not_depend_on_threads_or_company(large: Graph) -> None:
    with limit(1):
        alone = PowerWalk(large, walks=8)
        one = alone.scores([[1], [2], [3]])
        paths = walks(large, np.arange(500), 6, restart=0.1, decay=0.1, seed=4)
    with limit(3):
        np.testing.assert_array_equal(PowerWalk(large, walks=8).visits, alone.visits)
        np.testing.assert_array_equal(alone.scores([[3]])[0], one[2])
        np.testing.assert_array_equal(walks(large, np.arange(500), 6, restart=0.1, decay=0.1, seed=4), paths)


def test_walks_follow_edges_and_weights() -> None:
    graph = Graph.from_edges((["a", "a", "b", "c"], ["b", "c", "d", "d"], [1.0, 3.0, 1.0, 1.0]))
    start = graph.number(["a"])
    paths = walks(graph, np.repeat(start, 20_000), 1, seed=2)
    np.testing.assert_allclose(np.bincount(paths[:, 1], minlength=4) / 20_000, [0, 0.25, 0.75, 0], atol=0.015)
    straight = walks(graph, np.repeat(start, 500), 8, backtrack=False, seed=2)
    # A square: whoever never turns back goes round and round.
    assert (straight[:, 2:] != straight[:, :-2]).all()
    assert (straight[:, 4] == start).all()
    ended = walks(graph, np.repeat(start, 20_000), 30, decay=0.2, seed=3)
    assert (ended >= 0).sum(axis=1).mean() == pytest.approx(5, abs=0.15)
    home = walks(graph, np.repeat(start, 20_000), 3, restart=0.5, seed=3)
    assert (home[:, 1] == start).mean() == pytest.approx(0.5, abs=0.02)


def test_not_turning_back_draws_by_weight_among_the_rest() -> None:
    # b's other neighbours are c, d and e; who comes from a goes to them by weight, and a leaf sends everybody back.
    graph = Graph.from_edges((["a", "b", "b", "b"], ["b", "c", "d", "e"], [9.0, 1.0, 2.0, 5.0]))
    start, others = graph.number(["a"]), graph.number(["c", "d", "e"])
    paths = walks(graph, np.repeat(start, 20_000), 3, backtrack=False, seed=5)
    np.testing.assert_allclose([(paths[:, 2] == one).mean() for one in others], [0.125, 0.25, 0.625], atol=0.015)
    assert (paths[:, 3] == graph.number(["b"])).all()


@pytest.mark.parametrize("settings", [{}, {"restart": 0.2, "decay": 0.1, "backtrack": False, "seed": 3}])
def test_parts_and_repaired_walks_are_the_same_walks(large: Graph, settings: dict[str, Any]) -> None:
    starts = np.random.default_rng(0).integers(0, 3000, 2000)
    whole = walks(large, starts, 6, **settings)
    some = np.array([3, 1999, 500])
    np.testing.assert_array_equal(walks(large, starts[some], 6, numbers=some, **settings), whole[some])
    first = int(np.flatnonzero(large.degrees > 3)[0])
    later = large.changed(add=([5, 3001, 17], [900, 5, 2000]), remove=([first], [int(large.indices[large.indptr[first]])]))
    fixed, again = repaired(whole, large, later, **settings)
    np.testing.assert_array_equal(fixed, walks(later, starts, 6, **settings))
    assert 0 < again.size < 1000
    assert (fixed != whole).any()
    with pytest.raises(ConfigError, match="numbers"):
        walks(large, starts, 6, numbers=some)


def test_comes_back_from_disk(large: Graph, tmp_path: Path) -> None:
    index = PowerWalk(large, walks=5)
    index.calibrate(queries=4)
    again = Graph.load(large.save(tmp_path / "graph"))
    assert again.fingerprint == large.fingerprint
    loaded = PowerWalk.load(index.save(tmp_path / "walks"), again)
    assert loaded.curve == index.curve
    np.testing.assert_array_equal(loaded.scores([[7]]), index.scores([[7]]))
    named = Graph.from_edges({"source": ["x", "y"], "target": ["y", "z"], "weight": [1.0, 2.0]})
    assert Graph.load(named.save(tmp_path / "named"), mmap=False).ids.ids.to_list() == ["x", "y", "z"]
    with pytest.raises(StaleIndex):
        PowerWalk.load(tmp_path / "walks", large.changed(add=([0], [2999])))
    raw = bytearray((tmp_path / "graph").read_bytes())
    raw[-5] ^= 255
    (tmp_path / "graph").write_bytes(raw)
    with pytest.raises(CorruptFile):
        Graph.load(tmp_path / "graph")


def test_bad_input_has_a_name(large: Graph) -> None:
    with pytest.raises(BadValue, match="negative"):
        Graph.from_edges((["a"], ["b"], [-1.0]))
    with pytest.raises(BadValue, match="not finite"):
        Graph.from_edges((["a"], ["b"], [np.nan]))
    with pytest.raises(BadValue, match="missing"):
        Graph.from_edges(pl.DataFrame({"source": ["a", None], "target": ["b", "c"]}))
    with pytest.raises(UnknownId, match="'c'"):
        Graph.from_edges((["a"], ["c"]), nodes=["a", "b"])
    with pytest.raises(MissingColumn, match="target"):
        Graph.from_edges(pl.DataFrame({"source": ["a"], "to": ["b"]}))
    with pytest.raises(ConfigError, match="square"):
        Graph.from_matrix(csr_matrix(np.ones((2, 3))))
    with pytest.raises(EmptyData):
        Graph.from_edges(([], []))
    with pytest.raises(ConfigError, match="restart 1"):
        walks(large, np.zeros(1), 4, restart=1.0)
    with pytest.raises(BadValue, match="negative"):
        large.changed(add=([1], [2], [-1.0]))
    with pytest.raises(BadValue, match="negative"):
        Graph.from_matrix(csr_matrix(-np.eye(3)))
    with pytest.raises(UnknownId, match="no such edge"):
        Graph.from_edges((["a"], ["b"])).changed(remove=(["a"], ["a"]))
    index = PowerWalk(large, walks=4)
    with pytest.raises(UnknownId, match="none of the 1 seeds"):
        index.search([[10**9]])
    assert index.search([[5, 10**9]]).unknown.tolist() == [1]
    with pytest.raises(EmptyData):
        index.search([[]])
    with pytest.raises(BadValue, match="negative"):
        index.search([{5: -1.0}])
    alone = Graph.from_edges(([0], [1]), nodes=[0, 1, 2])
    shown = PowerWalk(alone, walks=4).search([[2], [0]], 5)
    assert shown.ranking[0] == [2]
    assert shown.isolated.tolist() == [True, False]
