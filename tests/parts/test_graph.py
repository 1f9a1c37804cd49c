"""Propagation and the pairwise fold-in against dense algebra and plain gradient descent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from sartor.errors import ConfigError
from sartor.parts.factors import Factors, Table
from sartor.parts.fold_in import fold_in
from sartor.parts.graph import BipartiteGraph, neighbour_vectors, propagated_people


def some_graph(seed: int, people: int = 12, items: int = 15, density: float = 0.2) -> tuple[BipartiteGraph, np.ndarray]:
    matrix = csr_matrix(random_array((people, items), density=density, rng=np.random.default_rng(seed)))
    matrix.sort_indices()
    return BipartiteGraph.of(matrix), (matrix.toarray() > 0).astype(np.float64)


def dense(edges: np.ndarray, x: np.ndarray, layers: int) -> np.ndarray:
    """Mean over powers of the normalised adjacency of the joint graph, times the joint vectors."""
    people, items = edges.shape
    whole = np.block([[np.zeros((people, people)), edges], [edges.T, np.zeros((items, items))]])
    degree = whole.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    step = scale[:, None] * whole * scale
    return sum(np.linalg.matrix_power(step, k) @ x for k in range(layers + 1)) / (layers + 1)


@given(st.integers(0, 10_000), st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_propagation_is_the_mean_of_dense_matrix_powers(seed: int, layers: int) -> None:
    graph, edges = some_graph(seed)
    x = np.random.default_rng(seed).standard_normal((27, 5))
    people, items = graph.propagate(torch.tensor(x[:12]).float(), torch.tensor(x[12:]).float(), layers)
    np.testing.assert_allclose(torch.cat([people, items]).numpy(), dense(edges, x, layers), atol=1e-5)


def test_gradients_through_propagation_equal_dense_ones() -> None:
    graph, edges = some_graph(4)
    x = torch.randn(27, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(27, 3, generator=torch.Generator().manual_seed(1))
    (torch.cat(graph.propagate(x[:12], x[12:], 3)) * weight).sum().backward()
    operator = dense(edges, np.eye(27), 3)
    np.testing.assert_allclose(x.grad.numpy(), operator.T @ weight.numpy(), atol=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_people_folded_in_by_history_equal_people_of_the_graph(seed: int, layers: int) -> None:
    graph, _ = some_graph(seed)
    network = Factors(Table(12, 4), Table(15, 4), graph=graph, layers=layers)
    with torch.no_grad():
        people, _, people0, _ = network()
        neighbours = neighbour_vectors([one.numpy() for one in network.item_layers()], graph.item_degrees)
    folded = propagated_people(people0.detach().numpy(), graph.indptr, graph.indices, neighbours, layers)
    np.testing.assert_allclose(folded, people.numpy(), atol=1e-5)


def test_edge_dropout_keeps_expected_weights() -> None:
    graph, _ = some_graph(2, 60, 60, 0.3)
    rng = np.random.default_rng(0)
    total = np.mean([graph.dropped(rng, 0.4).weights.sum() for _ in range(50)])
    assert total == pytest.approx(graph.weights.sum(), rel=0.02)
    with pytest.raises(ConfigError, match="dropout"):
        graph.dropped(rng, 1.0)


def plain_loss(x: np.ndarray, vectors: np.ndarray, own: np.ndarray, others: np.ndarray, l2: float) -> float:
    gaps = vectors[others] @ x
    return float(np.logaddexp(0, gaps[None] - (vectors[own] @ x)[:, None]).mean() + l2 * x @ x)


def test_fold_in_reaches_the_optimum_of_its_loss() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 6)).astype(np.float32)
    own = np.sort(rng.choice(40, 9, replace=False)).astype(np.int32)
    others = np.setdiff1d(np.arange(40), own)
    best = minimize(lambda x: plain_loss(x, vectors, own, others, 0.05), np.zeros(6)).x
    found = fold_in(vectors, np.array([0, 9]), own, np.zeros(6), steps=600, learning_rate=0.02, l2=0.05)[0]
    assert plain_loss(found, vectors, own, others, 0.05) < plain_loss(best, vectors, own, others, 0.05) + 0.01


def test_fold_in_of_one_person_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((50, 8)).astype(np.float32)
    histories = [np.sort(rng.choice(50, n, replace=False)).astype(np.int32) for n in (3, 0, 20, 7)]
    indptr = np.concatenate([[0], np.cumsum([one.size for one in histories])])
    start = rng.standard_normal(8).astype(np.float32)
    together = fold_in(vectors, indptr, np.concatenate(histories), start, pool=5)
    for row, own in enumerate(histories):
        np.testing.assert_array_equal(fold_in(vectors, np.array([0, own.size]), own, start, pool=5)[0], together[row])
    np.testing.assert_array_equal(together[1], start)


def test_fold_in_along_a_basis_stays_in_it() -> None:
    rng = np.random.default_rng(2)
    vectors, basis = rng.standard_normal((30, 6)).astype(np.float32), np.linalg.qr(rng.standard_normal((6, 2)))[0].T.astype(np.float32)
    offset = rng.standard_normal((1, 6)).astype(np.float32)
    own = np.array([1, 5, 9], np.int32)
    found = fold_in(vectors, np.array([0, 3]), own, np.zeros(2), offset=offset, basis=basis, l2=0.0)
    assert found.shape == (1, 2)
    others = np.setdiff1d(np.arange(30), own)
    before, after = offset[0], offset[0] + found[0] @ basis
    assert plain_loss(after, vectors, own, others, 0.0) < plain_loss(before, vectors, own, others, 0.0)


def test_pools_make_the_odd_one_out_count_little() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((200, 4)).astype(np.float32)
    taste = np.array([1, 0, 0, 0], np.float32)
    fitting = np.argsort(-(vectors @ taste))[:12]
    odd = int(np.argmin(vectors @ taste))
    own = np.sort(np.append(fitting, odd)).astype(np.int32)
    plain = fold_in(vectors, np.array([0, 13]), own, np.zeros(4), l2=0.01)[0]
    pooled = fold_in(vectors, np.array([0, 13]), own, np.zeros(4), l2=0.01, pool=5, temperature=0.1)[0]
    assert pooled @ vectors[odd] < plain @ vectors[odd]
