"""BootAMG: the solver it stands on, groups from edges and attributes together, new nodes, bad graphs; and what clusterings are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import block_diag, csr_matrix, diags

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted
from sartor.represent.boot_amg import BootAMG
from sartor.represent.clustering import (
    adjusted_rand_index,
    attribute_entropy,
    matching,
    misclustered,
    modularity,
    normalised_mutual_information,
)
from sartor.represent.multigrid import energy, hierarchy, smooth_vector
from sartor.retrieve.graph.generated import block_graph


def grid(side: int) -> csr_matrix:
    """A definite Laplacian of a square grid, whose low eigenvectors are known to be hard for relaxation."""
    path = diags([np.ones(side - 1), np.ones(side - 1)], [-1, 1])
    one = diags(np.ones(side))
    from scipy.sparse import kron

    edges = (kron(path, one) + kron(one, path)).tocsr()
    matrix = (diags(np.asarray(edges.sum(axis=1)).ravel() + 1e-4) - edges).tocsr()
    matrix.sort_indices()
    return matrix


def test_a_hierarchy_is_galerkin_and_keeps_its_vector() -> None:
    matrix, rng = grid(20), np.random.default_rng(0)
    vector = rng.random(400) + 0.5
    made = hierarchy(matrix, vector)
    assert made.levels >= 3
    assert np.diff(made.bounds)[-1] <= 10
    assert made.complexity < 3
    whole = csr_matrix((made.data, made.indices, made.indptr), shape=(made.bounds[-1],) * 2)
    for level in range(made.levels - 1):
        fine, coarse = (slice(*made.bounds[at : at + 2]) for at in (level, level + 1))
        p = csr_matrix(
            (made.share[fine], (np.arange(fine.stop - fine.start), made.parent[fine] - coarse.start)),
            shape=(fine.stop - fine.start, coarse.stop - coarse.start),
        )
        np.testing.assert_allclose((p.T @ whole[fine, fine] @ p).toarray(), whole[coarse, coarse].toarray(), atol=1e-12)
        # Columns of length 1 whose range holds the vector.
        np.testing.assert_allclose((p.T @ p).toarray(), np.eye(coarse.stop - coarse.start), atol=1e-12)
        np.testing.assert_allclose(p @ (p.T @ vector), vector, atol=1e-12)
        vector = p.T @ vector
        assert np.bincount(made.parent[fine] - coarse.start).max() <= 4


def test_every_hierarchy_makes_the_solver_faster_and_its_vector_smooth() -> None:
    matrix, rng = grid(24), np.random.default_rng(1)
    smooth, built, ratios = np.ones(576), [], []
    for _ in range(6):
        built.append(hierarchy(matrix, smooth))
        smooth, ratio = smooth_vector(matrix, built, rng.standard_normal(576))
        ratios.append(ratio)
    assert energy(matrix, smooth) == pytest.approx(1)
    assert ratios[0] < 0.95
    assert ratios[-1] < 0.3 * ratios[0]
    # The first smooth vector has far less energy for its length than a random one.
    first, _ = smooth_vector(matrix, built[:1], rng.standard_normal(576))
    random = rng.standard_normal(576)
    assert 1 / (first @ first) < 0.05 * energy(matrix, random) ** 2 / (random @ random)


@pytest.fixture(scope="module")
def blocks() -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    graph, truth = block_graph(300, 900, communities=3, inside=0.55, exponent=8, seed=4)
    linked = np.flatnonzero(graph.degrees > 0)
    rng = np.random.default_rng(5)
    truth = truth[linked].astype(np.int64)
    own = np.where(rng.random(truth.size) < 0.15, rng.integers(0, 3, truth.size), truth)
    return graph.matrix()[linked][:, linked], truth, np.stack([own, rng.integers(0, 4, truth.size)], axis=1)


@pytest.mark.parametrize("distance", ["concatenated", "blocks"])
def test_attributes_tell_what_edges_do_not(blocks: Any, distance: Any) -> None:
    graph, truth, table = blocks
    both = BootAMG(clusters=3, restarts=30, distance=distance).fit(graph, table)
    alone = BootAMG(clusters=3, restarts=30, distance=distance).fit(graph, np.zeros((truth.size, 1), int))
    assert both.labels_.shape == truth.shape
    assert normalised_mutual_information(both.labels_, truth) > normalised_mutual_information(alone.labels_, truth) + 0.15
    assert both.modularity_ == pytest.approx(modularity(graph, both.labels_))
    assert both.entropy_ < attribute_entropy(table, alone.labels_) - 0.2
    assert both.ratios_[-1] <= 1e-6
    np.testing.assert_allclose(both.embedding_.T @ both.embedding_, np.eye(both.embedding_.shape[1]), atol=1e-8)
    names = np.array(["crime", "garden", "sea"])[table[:, 0]]
    again = BootAMG(clusters=3, restarts=30, distance=distance).fit(graph, np.stack([names, table[:, 1].astype(str)], axis=1))
    np.testing.assert_array_equal(again.labels_, both.labels_)


def test_somebody_new_joins_the_own_group(blocks: Any) -> None:
    graph, truth, table = blocks
    method = BootAMG(clusters=3, restarts=30).fit(graph, table)
    # Whoever has an old member's edges and attributes is put where most of these are; without edges the attributes decide.
    found, vectors = method.assign(graph, table)
    assert (found == method.labels_).mean() > 0.9
    assert vectors.dtype == np.float16
    assert vectors.shape == (truth.size, method.embedding_.shape[1] * 3)
    nobody, _ = method.assign(csr_matrix((3, truth.size)), [[one, 0] for one in range(3)])
    names = matching(method.labels_, truth)
    np.testing.assert_array_equal(names[nobody], np.arange(3))
    with pytest.raises(BadValue, match="nobody had the value 9"):
        method.assign(csr_matrix((1, truth.size)), [[9, 0]])
    with pytest.raises(ConfigError, match="columns"):
        method.assign(csr_matrix((1, 4)), [[1, 0]])
    with pytest.raises(BadValue, match="neither neighbours nor attributes"):
        BootAMG(clusters=2, restarts=1).fit(ring(9)).assign(csr_matrix((1, 9)))


def ring(n: int) -> csr_matrix:
    return csr_matrix(np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1))


def test_bad_graphs_have_a_name() -> None:
    with pytest.raises(ConfigError, match="7 rows of attributes for 8 nodes"):
        BootAMG(clusters=2).fit(ring(8), np.zeros((7, 1), int))
    with pytest.raises(BadValue, match="continuous"):
        BootAMG(clusters=2).fit(ring(8), np.linspace(0, 1, 8))
    parts = block_diag([ring(8), ring(5)]).tocsr()
    with pytest.raises(BadValue, match="2 parts, of 8, 5 nodes"):
        BootAMG(clusters=2).fit(parts)
    # A shared value joins them.
    joined = BootAMG(clusters=2, restarts=5).fit(parts, np.zeros(13, int))
    assert set(joined.labels_.tolist()) == {0, 1}
    assert joined.entropy_ == 0
    with pytest.raises(ConfigError, match="symmetric"):
        BootAMG(clusters=2).fit(csr_matrix(np.triu(np.ones((4, 4)))))
    with pytest.raises(BadValue, match="negative"):
        BootAMG(clusters=2).fit(-ring(8))
    with pytest.raises(EmptyData):
        BootAMG(clusters=2).fit(csr_matrix((4, 4)))
    with pytest.raises(ConfigError, match="9 clusters of 8"):
        BootAMG(clusters=9).fit(ring(8))
    with pytest.raises(NotFitted):
        BootAMG(clusters=2).assign(ring(8))
    for wrong in ({"clusters": 1}, {"clusters": 2, "restarts": 0}, {"clusters": 2, "distance": "cosine"}):
        with pytest.raises(ConfigError):
            BootAMG(**wrong)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=40))
@settings(max_examples=50, deadline=None)
def test_measures_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, truth = (np.unique(one, return_inverse=True)[1] for one in np.array(pairs).T)
    assert normalised_mutual_information(labels, truth) == pytest.approx(metrics.normalized_mutual_info_score(truth, labels), abs=1e-9)
    assert adjusted_rand_index(labels, truth) == pytest.approx(metrics.adjusted_rand_score(truth, labels), abs=1e-9)
    # Renaming changes nothing, and no other naming of the groups is better.
    shuffled = np.random.default_rng(0).permutation(labels.max() + 1)[labels]
    assert misclustered(shuffled, truth) == pytest.approx(misclustered(labels, truth))
    assert len(set(matching(labels, truth).tolist())) == labels.max() + 1
    assert misclustered(labels, truth) <= (labels != truth).mean()


def test_modularity_and_entropy_by_hand() -> None:
    two = block_diag([np.ones((3, 3)) - np.eye(3)] * 2).tocsr()
    assert modularity(two, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(0.5)
    assert modularity(two, np.zeros(6, int)) == pytest.approx(0)
    table = np.array([[0, 5], [0, 5], [1, 5], [1, 7]])
    assert attribute_entropy(table, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    assert attribute_entropy(table, np.zeros(4, int)) == pytest.approx(1 + 0.811278, abs=1e-5)
