"""Indexes against brute force: every metric, filters, additions and removals, files, and named errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import (
    BadValue,
    ConfigError,
    CorruptFile,
    DuplicateRows,
    EmptyData,
    FileProblem,
    MissingColumn,
    NotFitted,
    SpaceMismatch,
    UnknownId,
    WrongType,
)
from sartor.retrieve.filters import field
from sartor.retrieve.index import ItemIndex

KINDS = ("exact", "binary", "inverted", "planned", "graph", "leanvec")
METRICS = ("cosine", "ip", "l2")


def scores_of(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """In float64, [queries, vectors]."""
    queries, vectors = queries.astype(float), vectors.astype(float)
    if metric == "l2":
        return -((queries[:, None] - vectors[None]) ** 2).sum(-1)
    if metric == "cosine":
        queries, vectors = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (queries, vectors))
    return queries @ vectors.T


@pytest.fixture(scope="module")
def clustered() -> tuple[np.ndarray, np.ndarray, pl.DataFrame]:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(40, 24))
    vectors, queries = ((centres[rng.integers(40, size=n)] + 0.7 * rng.normal(size=(n, 24))).astype(np.float32) for n in (5_000, 60))
    return vectors, queries, pl.DataFrame({"u": rng.random(5_000), "side": vectors @ queries.mean(0)})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("queries", [1, 60])
@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_exact_search_is_brute_force(clustered: Any, metric: str, queries: int, storage: str) -> None:
    vectors, asked, attributes = clustered
    index = ItemIndex.make("exact", metric=metric, storage=storage).build(vectors, attributes=attributes)
    for share in (1.0, 0.3, 0.001):
        allowed = attributes["u"].to_numpy() <= share
        hits = index.search(asked[:queries], 10, where=field("u") <= share)
        truth = scores_of(asked[:queries], vectors, metric)
        truth[:, ~allowed] = -np.inf
        n = min(10, allowed.sum())
        assert ((hits.indices >= 0).sum(1) == n).all()
        best = -np.sort(-truth, axis=1)[:, :n]
        near = {"rtol": 1e-2, "atol": 5e-2} if storage == "float16" else {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(hits.scores[:, :n], best, **near)
        np.testing.assert_allclose(np.take_along_axis(truth, hits.indices[:, :n].astype(int), 1), best, **near)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(METRICS), st.integers(0, 2**32), st.sampled_from([1, 3, 8, 50]), st.sampled_from([1e-12, 1.0, 1e6]), st.sampled_from([1, 100])
)  # fmt: skip
def test_a_screen_changes_no_answer(tmp_path_factory: Any, metric: str, seed: int, dim: int, size: float, k: int) -> None:
    rng = np.random.default_rng(seed)
    # Many equal vectors, some twice as long, one far away from all others.
    vectors = rng.normal(size=(20, dim))[rng.integers(20, size=700)] + rng.choice([0, 1e-4, 1], (700, 1)) * rng.normal(size=(700, dim))
    vectors[rng.integers(700)] += 1_000
    vectors, queries = (size * vectors).astype(np.float32), (size * rng.normal(size=(3, dim))).astype(np.float32)
    plain, screened = (ItemIndex.make("exact", metric=metric, screen=one).build(vectors[:300]) for one in (False, True))
    screened.add(vectors[300:500])
    screened = ItemIndex.load(screened.save(tmp_path_factory.mktemp("index")))
    screened.add(vectors[500:])
    plain.add(vectors[300:])
    for gone in ([], rng.choice(700, 200, replace=False).tolist()):
        plain.remove(gone)
        screened.remove(gone)
        hits = screened.search(queries, k)
        assert "screened" in hits.plan
        truth = scores_of(queries, vectors, metric)
        truth[:, gone] = -np.inf
        near = {"rtol": 1e-5, "atol": 1e-6 * float(np.abs(truth[np.isfinite(truth)]).max())}
        # One by one, as the screened are compared: products of many at once round otherwise.
        np.testing.assert_allclose(hits.scores, np.concatenate([plain.search(query, k).scores for query in queries]), **near)
        np.testing.assert_allclose(hits.scores, np.take_along_axis(truth, hits.indices.astype(int), 1), **near)
        assert all(len(set(row)) == k for row in hits.indices.tolist())
    with pytest.raises(ConfigError):
        ItemIndex.make("exact", screen=True, storage="float16")


@pytest.mark.parametrize(("size", "length"), [(1e-23, 1.0), (1.0, 1e-24), (1e-18, 1e-18)])
def test_a_screen_changes_no_answer_of_numbers_whose_squares_are_nothing(size: float, length: float) -> None:
    rng = np.random.default_rng(0)
    vectors = (size * (rng.normal(size=32) + 1e-4 * rng.normal(size=(1000, 32)))).astype(np.float32)
    plain, screened = (ItemIndex.make("exact", metric="ip", screen=one).build(vectors) for one in (False, True))
    for query in (length * rng.normal(size=(20, 32))).astype(np.float32):
        np.testing.assert_array_equal(screened.search(query, 5).indices, plain.search(query, 5).indices)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["inverted", "planned"])
def test_recall_holds_under_every_filter(clustered: Any, kind: str, metric: str) -> None:
    vectors, queries, attributes = clustered
    index = ItemIndex.make(kind, metric=metric).build(vectors, attributes=attributes)
    side = attributes["side"]
    random = [field("u") < share for share in (0.9, 0.5, 0.1, 0.01, 0.0005)]
    against = [field("side") < side.quantile(share) for share in (0.5, 0.05)]
    for where in (None, *random, *against):
        allowed = np.ones(len(vectors), bool) if where is None else index.bitmap(where).mask()
        truth = scores_of(queries, vectors, metric)
        truth[:, ~allowed] = -np.inf
        n = min(10, int(allowed.sum()))
        best = np.argsort(-truth, axis=1)[:, :n]
        hits = index.search(queries, 10, where=where)
        assert ((hits.indices >= 0).sum(1) == n).all()
        assert allowed[hits.indices[hits.indices >= 0]].all()
        assert np.mean([np.isin(one, two).mean() for one, two in zip(best, hits.indices, strict=True)]) >= 0.93, hits.plan
    everything = index.search(queries, 10, budget=1.0)
    np.testing.assert_allclose(everything.scores, -np.sort(-scores_of(queries, vectors, metric), axis=1)[:, :10], rtol=1e-3, atol=1e-3)
    assert (index.search(queries, 10, budget=0.0, where=field("u") < 0.01).indices >= 0).all()


def test_the_planner_takes_different_ways(clustered: Any) -> None:
    vectors, queries, attributes = clustered
    index = ItemIndex.make("planned").build(vectors, attributes=attributes)
    assert index.search(queries, where="u < 0.004").plan.startswith("exact")
    index.costs_[:3] = 1.0  # type: ignore[attr-defined]  # comparing is dear: look at few
    assert index.search(queries, where="u < 0.5").plan.startswith("inverted")
    index.costs_[:] = (1.0, 0, 1e-6, 0, 2e-6, 1.0, np.inf, np.inf)  # type: ignore[attr-defined]  # products are nearly free
    assert index.search(queries, where="u < 0.5").plan.startswith("exact")


@pytest.mark.parametrize("metric", ["l2"])
def test_the_planner_walks_a_graph_where_it_pays(tmp_path: Path, clustered: Any, metric: str) -> None:
    vectors, queries, attributes = clustered
    index = ItemIndex.make("planned", metric=metric, graph=True).build(vectors[:4_500], attributes=attributes[:4_500])
    index.add(vectors[4_500:], attributes=attributes[4_500:])
    index.remove(list(range(0, 5_000, 10)))
    index.costs_[:5], index.costs_[6:] = (1e-6, 1e-7, 1e-7, 1e-9, 1e-4), 1e-12  # type: ignore[attr-defined]  # the graph is nearly free
    for one in (index, ItemIndex.load(index.save(tmp_path / "index"))):
        for where in (None, "u < 0.5", "u < 0.05"):
            allowed = (np.arange(5_000) % 10 > 0) & (np.ones(5_000, bool) if where is None else index.bitmap(where).mask())
            truth = scores_of(queries, vectors, metric)
            truth[:, ~allowed] = -np.inf
            hits = one.search(queries, 10, where=where)
            assert hits.plan.startswith(("walk", "short codes") if where != "u < 0.05" else "exact"), hits.plan
            assert allowed[hits.indices].all()
            assert np.mean([np.isin(a, b).mean() for a, b in zip(np.argsort(-truth, axis=1)[:, :10], hits.indices, strict=True)]) >= 0.93


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(KINDS), st.sampled_from(METRICS), st.integers(0, 2**32), st.lists(st.sampled_from(["add", "remove", "save"]), max_size=8))
def test_any_sequence_of_changes_leaves_what_should_be_there(tmp_path_factory: Any, kind: str, metric: str, seed: int, steps: list[str]) -> None:
    rng = np.random.default_rng(seed)
    start = int(rng.integers(1, 40))
    vectors = rng.normal(size=(start, 6)).astype(np.float32)
    index = ItemIndex.make(kind, metric=metric).build(vectors, [f"i{n}" for n in range(start)])
    there = {f"i{n}": vector for n, vector in enumerate(vectors)}
    removed: set[str] = set()
    for step in steps:
        version = index.version
        if step == "add":
            new = {f"i{len(there) + len(removed) + n}": rng.normal(size=6).astype(np.float32) for n in range(int(rng.integers(1, 80)))}
            new |= {name: rng.normal(size=6).astype(np.float32) for name in list(removed)[:1]}
            removed -= new.keys()
            index.add(np.stack(list(new.values())), list(new))
            there |= new
        elif step == "remove" and len(there) > 1:
            gone = rng.choice(sorted(there), int(rng.integers(1, len(there))), replace=False).tolist()
            assert index.remove([*gone, "nobody"]) == len(gone)
            removed |= set(gone)
            there = {name: vector for name, vector in there.items() if name not in removed}
        elif step == "save":
            index = ItemIndex.load(index.save(tmp_path_factory.mktemp("index")))
        assert index.version == version + (step == "add") + (step == "remove" and bool(removed) and index.version > version)
        assert index.size == len(there)
        names, queries = list(there), rng.normal(size=(5, 6)).astype(np.float32)
        hits = index.search(queries, len(there) + 3)
        assert all(sorted(one) == sorted(names) for one in hits)
        truth = scores_of(queries, np.stack(list(there.values())), metric)
        near = {"rtol": 2e-2, "atol": 0.1} if kind in ("leanvec", "binary") else {"rtol": 1e-3, "atol": 1e-4}  # 8-bit codes, float16
        np.testing.assert_allclose(hits.scores[:, : len(there)], -np.sort(-truth, axis=1), **near)
        assert "fewer than" in hits.plan


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mmap", [True, False])
def test_a_saved_index_answers_the_same_and_can_go_on(tmp_path: Path, clustered: Any, kind: str, mmap: bool) -> None:
    vectors, queries, attributes = clustered
    vectors, attributes = vectors[:600], attributes[:600].with_columns(tags=pl.Series([["a"], ["b", "c"], None] * 200))
    index = ItemIndex.make(kind, metric="l2").build(vectors, [f"x{n}" for n in range(600)], attributes=attributes, space="abc")
    index.remove(["x5"])
    index.save(tmp_path / "index")
    index.save(tmp_path / "index")
    again = ItemIndex.load(tmp_path / "index", mmap=mmap, space="abc")
    one, two = (each.search(queries, 5, where="tags contains 'b' and u > 0.1", space="abc") for each in (index, again))
    assert list(one) == list(two)
    again.add(queries[:1], ["new"], attributes[:1])
    assert again.search(queries[0], 1)[0] == ["new"]
    assert ItemIndex.load(tmp_path / "index").size == 599
    with pytest.raises(SpaceMismatch):
        ItemIndex.load(tmp_path / "index", space="other")
    file = tmp_path / "index" / "index.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CorruptFile):
        ItemIndex.load(tmp_path / "index", mmap=mmap)
    with pytest.raises(FileProblem):
        ItemIndex.load(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(FileProblem):
        index.save(tmp_path / "other")


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_have_names(kind: str) -> None:
    good = np.eye(4, dtype=np.float32)
    index = ItemIndex.make(kind).build(good, ["a", "b", "c", "d"], space="abc")
    bad = good.copy()
    bad[2, 0] = np.nan
    cases: list[tuple[type[Exception], Any]] = [
        (BadValue, lambda: ItemIndex.make(kind).build(bad)),
        (BadValue, lambda: ItemIndex.make(kind).build(good * 0)),
        (BadValue, lambda: index.search(np.zeros(4))),
        (BadValue, lambda: index.search(np.ones(5))),
        (BadValue, lambda: index.add(np.ones((1, 3)), ["e"])),
        (BadValue, lambda: index.search(good, allowed=np.ones(5, bool))),
        (DuplicateRows, lambda: ItemIndex.make(kind).build(good, [1, 2, 2, 3])),
        (DuplicateRows, lambda: index.add(good[:1], ["a"])),
        (EmptyData, lambda: ItemIndex.make(kind).build(np.empty((0, 4)))),
        (SpaceMismatch, lambda: index.search(good, space="other")),
        (NotFitted, lambda: ItemIndex.make(kind).search(good)),
        (MissingColumn, lambda: index.search(good, where="year > 1")),
        (UnknownId, lambda: index.search(good, allowed=["z"])),
        (ConfigError, lambda: index.search(good, 0)),
        (ConfigError, lambda: index.search(good, budget=2)),
        (ConfigError, lambda: ItemIndex.make(kind, metric="manhattan")),
        (ConfigError, lambda: ItemIndex.make(kind, nonsense=1)),
        (WrongType, lambda: index.search(np.array([["x"] * 4]))),
        (WrongType, lambda: ItemIndex.make(kind).build(good, attributes=[1])),  # type: ignore[arg-type]
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    assert index.search(good[0], 2, allowed=["b", "c"]).indices.max() <= 2
    index.remove(["a", "b", "c", "d"])
    with pytest.raises(EmptyData):
        index.search(good)
