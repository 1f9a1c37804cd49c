"""MaxSim against brute force, medoids against all choices, and the second stage of two-stage search."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, EmptyData, WrongType
from sartor.parts.threads import limit
from sartor.represent.medoids import medoids
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.multi_vector import MultiVectors, maxsim
from sartor.retrieve.two_stage import two_stage


def some(rng: np.random.Generator, n: int, dim: int = 8, most: int = 6) -> MultiVectors:
    return MultiVectors.of([rng.normal(size=(rng.integers(1, most + 1), dim)) for _ in range(n)])


def brute(queries: MultiVectors, documents: MultiVectors) -> np.ndarray:
    pairs = [
        [(q.astype(float) @ d.astype(float).T) for d in map(documents.__getitem__, range(len(documents)))]
        for q in map(queries.__getitem__, range(len(queries)))
    ]
    return np.array([[one.max(1).sum() for one in line] for line in pairs])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), threads=st.sampled_from([1, 3]))
def test_maxsim_is_brute_force(seed: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    queries, documents = some(rng, 4), some(rng, 9)
    truth = brute(queries, documents)
    with limit(threads):
        np.testing.assert_allclose(maxsim(queries, documents), truth, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(maxsim(documents, queries, sum_over="document"), truth.T, rtol=1e-5, atol=1e-5)
        chosen = rng.integers(-1, 9, size=(4, 5))
        wanted = np.where(chosen < 0, -np.inf, np.take_along_axis(truth, np.maximum(chosen, 0), 1))
        np.testing.assert_allclose(maxsim(queries, documents, chosen), wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(maxsim(queries, documents.stored("float16"), chosen), wanted, rtol=5e-3, atol=5e-3)


def test_taking_joining_and_means_keep_what_belongs_together() -> None:
    rng = np.random.default_rng(0)
    all_ = some(rng, 7)
    one, other = all_.take(np.array([5, 0])), all_.take(np.array([3]))
    np.testing.assert_array_equal(one[0], all_[5])
    joined = one.joined(other)
    assert list(joined.ids) == [5, 0, 3]
    np.testing.assert_array_equal(joined[2], all_[3])
    np.testing.assert_allclose(joined.means(), [all_[row].mean(0) for row in (5, 0, 3)], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(all_.vectors, axis=1), 1, rtol=1e-5)
    assert MultiVectors.of([[3.0, 4.0]], unit=False).vectors.tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("each", "error", "said"),
    [
        ([], EmptyData, "not one"),
        ([np.ones((2, 3)), np.ones((0, 3))], BadValue, "id 'b'"),
        ([np.ones((2, 3)), np.array([[1.0, 0, 0], [0, 0, 0]])], BadValue, "id 'b': its vector 1 has length 0"),
        ([np.ones((2, 3)), np.array([[1.0, np.nan, 0]])], BadValue, "id 'b': its vector 0 is not finite"),
        ([np.ones((2, 3)), np.ones((2, 4))], BadValue, "id 'b'"),
        ([np.ones((2, 3)), np.array([["x", "y", "z"]])], WrongType, "id 'b'"),
    ],
)
def test_what_cannot_be_compared_is_named(each: list[np.ndarray], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        MultiVectors.of(each, ["a", "b"][: len(each)])


def test_asking_for_what_is_not_there_is_an_error() -> None:
    rng = np.random.default_rng(0)
    queries, documents = some(rng, 2), some(rng, 3)
    with pytest.raises(BadValue, match="dimensions"):
        maxsim(queries, some(rng, 2, dim=9))
    with pytest.raises(BadValue, match="candidates"):
        maxsim(queries, documents, np.array([[0], [3]]))
    with pytest.raises(ConfigError, match="sum over"):
        maxsim(queries, documents, sum_over="both")  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="float16"):
        MultiVectors.of([np.full((2, 3), 1e6)], unit=False).stored("float16")
    with pytest.raises(BadValue, match="offsets"):
        MultiVectors.packed(np.ones((4, 2)), np.array([0, 3]))


def test_medoids_are_the_best_choice_of_few() -> None:
    rng = np.random.default_rng(3)
    centres = np.eye(6)[:3]
    vectors = np.repeat(centres, [8, 5, 3], axis=0) + 0.1 * rng.normal(size=(16, 6))
    chosen, of = medoids(vectors, 3)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T
    best = max(combinations(range(16), 3), key=lambda own: cosines[:, list(own)].max(1).sum())
    assert set(chosen.tolist()) == set(best)
    assert np.bincount(of).tolist() == [8, 5, 3]
    assert medoids(np.ones((4, 2)), 3)[0].size == 1
    # A vector that counts for much is a medoid, however lonely.
    assert 15 in medoids(vectors, 1, weights=np.r_[np.ones(15), 100.0])[0]
    with pytest.raises(BadValue, match="row 1"):
        medoids(np.array([[1.0, 0], [0, 0]]), 1)


def test_the_second_stage_orders_by_exact_scores_and_only_among_candidates() -> None:
    rng = np.random.default_rng(0)
    index = ItemIndex.make("exact", metric="ip").build(rng.normal(size=(50, 4)), [f"i{row}" for row in range(50)])
    queries = rng.normal(size=(3, 4))
    first = index.search(queries, 20)
    exact = rng.normal(size=(3, 50)).astype(np.float32)
    hits = two_stage(index, queries, lambda rows: np.take_along_axis(exact, rows.astype(int), 1), 5, candidates=20)
    for row in range(3):
        order = sorted(first.indices[row], key=lambda item: -exact[row, item])[:5]
        assert hits.indices[row].tolist() == order
        assert hits[row] == [f"i{item}" for item in order]
    few = two_stage(index, queries, lambda rows: np.where(rows < 0, np.nan, 1.0), 5, candidates=10, allowed=["i3", "i4"])
    assert [len(few[row]) for row in range(3)] == [2, 2, 2]
    with pytest.raises(BadValue, match="item 'i"):
        two_stage(index, queries, lambda rows: np.full(rows.shape, np.nan), 5)
    with pytest.raises(ConfigError, match="candidates"):
        two_stage(index, queries, lambda rows: rows, 5, candidates=4)
