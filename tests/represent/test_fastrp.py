"""FastRP: the formula, new nodes, bad graphs; and the probe that judges vectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted
from sartor.evaluate.probe import multilabel_f1
from sartor.represent.fastrp import FastRP, unit, very_sparse_projection
from sartor.retrieve.graph.generated import block_graph


def dense_rows(p: np.ndarray, start: np.ndarray, weights: tuple[float, ...]) -> np.ndarray:
    total, power = np.zeros_like(start), start
    for weight in weights:
        power = p @ power
        total += weight * unit(power)
    return total


def test_is_the_published_formula_and_new_nodes_follow_it() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.random((80, 80)) * (rng.random((80, 80)) < 0.15)
    matrix += matrix.T
    weights = (0.0, 0.5, 1.0, 6.67)
    fast = FastRP(16, weights=weights, alpha=-0.5, seed=3)
    vectors = fast.fit(csr_matrix(matrix))
    degree = matrix.sum(axis=1)
    p = matrix / degree[:, None]
    start = (degree / degree.mean())[:, None] ** -0.5 * very_sparse_projection(80, 16, 3).toarray()
    total = dense_rows(p, start, weights)
    np.testing.assert_allclose(vectors, (total - total.mean(axis=0)) / total.std(axis=0), atol=2e-4)
    # A new node with the edges of an old one is where the old one is.
    np.testing.assert_allclose(fast.embed(csr_matrix(matrix[:5])), vectors[:5], atol=2e-4)


def test_the_projection_is_very_sparse_and_keeps_lengths() -> None:
    r = very_sparse_projection(10_000, 64, 0)
    assert r.nnz == pytest.approx(64 * 100, rel=0.1)
    assert set(np.unique(np.abs(r.data)).tolist()) == {np.float32(np.sqrt(100 / 64))}
    assert r.multiply(r).sum() == pytest.approx(10_000, rel=0.1)
    assert abs(np.sign(r.data).mean()) < 0.05


def test_communities_are_found_and_isolated_nodes_are_zero() -> None:
    graph, community = block_graph(1500, 12_000, communities=6, seed=2)
    vectors = FastRP(64).fit(graph.matrix())
    alone = graph.degrees == 0
    assert alone.any()
    assert not vectors[alone].any()
    assert np.isfinite(vectors).all()
    known = np.flatnonzero(~alone)
    found = multilabel_f1(vectors[known], np.eye(6, dtype=bool)[community[known]], share=0.3)
    assert found["micro"] > 0.8


def test_bad_graphs_have_a_name() -> None:
    ring = csr_matrix(np.roll(np.eye(8), 1, axis=1))
    with pytest.raises(BadValue, match="negative"):
        FastRP(4).fit(-ring)
    with pytest.raises(EmptyData):
        FastRP(4).fit(csr_matrix((8, 8)))
    with pytest.raises(ConfigError, match="dimensions"):
        FastRP(9).fit(ring)
    with pytest.raises(NotFitted):
        FastRP(4).embed(ring)
    fast = FastRP(4)
    fast.fit(ring)
    assert not fast.embed(csr_matrix((1, 8))).any()
    with pytest.raises(ConfigError, match="columns"):
        fast.embed(csr_matrix((1, 7)))


def test_a_label_nobody_showed_does_not_come_first() -> None:
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 400)
    vectors = np.eye(3)[kind] + 0.1 * rng.normal(size=(400, 3))
    # The last label has one row, which is not among those trained on.
    labels = np.zeros((400, 4), bool)
    labels[np.arange(400), kind] = True
    train = np.random.default_rng(0).permutation(400)[:40]
    labels[np.setdiff1d(np.arange(400), train)[0], 3] = True
    assert multilabel_f1(vectors, labels, share=0.1, strengths=(0.1, 10.0))["micro"] > 0.95
