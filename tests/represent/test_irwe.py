"""IRWE: walk statistics against counting, vectors of new graphs and nodes, bad graphs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_matrix

pytest.importorskip("torch", reason="torch is not installed: pip install 'sartor[deep]'")

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted, TooLarge
from sartor.parts.random_walks import random_walks
from sartor.represent.irwe import IRWE
from sartor.represent.walk_statistics import BUCKETS, patterns, walk_statistics
from sartor.retrieve.graph.generated import block_graph

SMALL = {"dim": 16, "projection_dim": 48, "walks": 60, "steps": 50, "batch": 24, "paths": 10, "reach": 6}


def test_patterns_are_counted_by_bell_numbers() -> None:
    assert [len(patterns(length)) for length in (1, 2, 3, 4, 5)] == [1, 2, 5, 15, 52]
    assert patterns(3) == ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, 2))


def test_statistics_are_what_counting_gives() -> None:
    graph, _ = block_graph(60, 150, communities=3, seed=1)
    nodes = np.array([7, 3, 50])
    shares, degrees = walk_statistics(graph.indptr, graph.indices, nodes, length=4, walks=40, seed=2)
    for row, node in enumerate(nodes):
        numbers = node * 40 + np.arange(40)
        paths = random_walks(graph.indptr, graph.indices, np.empty(0, np.float32), np.full(40, node), 3, seed=2, numbers=numbers)
        if paths[0, 1] < 0:
            assert not shares[row].any()
            continue
        counted = Counter(tuple(list(dict.fromkeys(path)).index(one) for one in path) for path in paths.tolist())
        np.testing.assert_allclose(shares[row], [counted[one] / 40 for one in patterns(4)], atol=1e-6)
        met = np.zeros((4, BUCKETS))
        for path in paths:
            for at, one in enumerate(path):
                met[at, int(np.log2(graph.degrees[one]))] += 1 / 40
        np.testing.assert_allclose(degrees[row], met.ravel(), atol=1e-6)


def test_new_graphs_need_no_training_and_names_of_nodes_do_not_matter() -> None:
    graphs = [block_graph(220, 1100, communities=4, inside=0.95, exponent=6, seed=seed) for seed in (1, 2)]
    method = IRWE(**SMALL).fit(graphs[0][0].matrix(), progress=False)
    assert method.losses_[-1] < 20
    graph, community = graphs[1]
    found = method.embed(graph.matrix())
    assert found.identity.shape == found.position.shape == (220, 16)
    there = found.walked
    np.testing.assert_allclose(np.linalg.norm(found.position[there], axis=1), 1, atol=1e-5)
    near = found.position[there] @ found.position[there].T
    same = community[there][:, None] == community[there][None, :]
    assert near[same].mean() > near[~same].mean() + 0.15
    # Some nodes alone are what they are among all.
    some = method.embed(graph.matrix(), np.array([5, 100]))
    np.testing.assert_allclose(some.identity, found.identity[[5, 100]], atol=1e-4)
    np.testing.assert_allclose(some.position, found.position[[5, 100]], atol=1e-4)
    # A star's centre and its leaves, in two stars of other sizes: roles are alike across graphs.
    star = np.zeros((12, 12))
    star[0, 1:] = star[1:, 0] = 1
    roles = method.embed(block_diag([csr_matrix(star), csr_matrix(star[:10, :10])]).tocsr()).identity
    apart = np.linalg.norm(roles[0] - roles[1])
    assert np.linalg.norm(roles[0] - roles[12]) < 0.5 * apart
    assert np.linalg.norm(roles[1] - roles[13]) < 0.5 * apart


def test_a_node_without_edges_is_flagged() -> None:
    graph, _ = block_graph(80, 240, communities=2, seed=3)
    matrix = block_diag([graph.matrix(), csr_matrix((1, 1))]).tocsr()
    found = IRWE(**SMALL).fit(matrix, progress=False).embed(matrix)
    assert not found.walked[80]
    assert not found.position[80].any()
    assert np.isfinite(found.identity).all()


def test_the_same_seed_gives_the_same_vectors() -> None:
    matrix = block_graph(80, 240, communities=2, seed=3)[0].matrix()
    one, two = (IRWE(**SMALL).fit(matrix, progress=False).embed(matrix) for _ in range(2))
    np.testing.assert_array_equal(one.position, two.position)
    np.testing.assert_array_equal(one.identity, two.identity)


def test_bad_graphs_have_a_name() -> None:
    ring = csr_matrix(np.roll(np.eye(9), 1, axis=1))
    with pytest.raises(ConfigError, match="symmetrise"):
        IRWE(**SMALL).fit(ring)
    assert IRWE(**SMALL, symmetrise=True).fit(ring, progress=False).embed(ring).walked.all()
    both = (ring + ring.T).tocsr()
    with pytest.raises(TooLarge, match=r"9 nodes take 1\d,\d\d\d bytes|9 nodes take \d,\d\d\d bytes"):
        IRWE(**SMALL, memory=1000).fit(both)
    with pytest.raises(BadValue, match="negative"):
        IRWE(**SMALL).fit(-both)
    with pytest.raises(EmptyData):
        IRWE(**SMALL).fit(csr_matrix((4, 4)))
    with pytest.raises(EmptyData):
        IRWE(**SMALL).fit([])
    with pytest.raises(ConfigError, match="square"):
        IRWE(**SMALL).fit(csr_matrix((4, 5)))
    with pytest.raises(NotFitted):
        IRWE(**SMALL).embed(both)
    for wrong in ({"length": 9}, {"dim": 0}, {"temperature": 0.0}, {"reach": 1}):
        with pytest.raises(ConfigError):
            IRWE(**wrong)
