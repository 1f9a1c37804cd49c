"""Graphs of other libraries and LeanVec against brute force: recall under every filter, growth, files; projections against each other."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays

from sartor.errors import ConfigError, CorruptFile, EmptyData, MissingExtra
from sartor.retrieve import codes, vamana_build
from sartor.retrieve._projection import closed_form, frank_wolfe, moment, pca
from sartor.retrieve._rotation import Rotation
from sartor.retrieve.filters import field
from sartor.retrieve.graph_index import GraphIndex
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.leanvec import LeanVecIndex

N, DIM, QUERIES = 4_000, 32, 80
MADE = {
    "leanvec": ("leanvec", {"dims": 16, "degree": 16, "build_window": 48}),
    "leanvec 4 bits": ("leanvec", {"dims": 30, "degree": 16, "build_window": 48, "first_bits": 4}),
    "leanvec 16 bits": ("leanvec", {"dims": 32, "degree": 16, "build_window": 48, "second_bits": 16}),
    "faiss": ("graph", {"engine": "faiss"}),
    "faiss float16": ("graph", {"engine": "faiss", "storage": "float16"}),
    "faiss sq8": ("graph", {"engine": "faiss", "storage": "sq8"}),
    "hnswlib": ("graph", {"engine": "hnswlib"}),
    "usearch": ("graph", {"engine": "usearch"}),
    "usearch float16": ("graph", {"engine": "usearch", "storage": "float16"}),
    "usearch sq8": ("graph", {"engine": "usearch", "storage": "sq8"}),
    "svs": ("graph", {"engine": "svs"}),
    "svs float16": ("graph", {"engine": "svs", "storage": "float16"}),
}


def made(name: str, metric: str = "cosine") -> Any:
    kind, given_settings = MADE[name]
    small = {} if kind == "leanvec" else {"degree": 32, "build_window": 64}
    return ItemIndex.make(kind, metric=metric, **(small | given_settings))


def scores_of(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    if metric == "l2":
        return 2 * queries @ vectors.T - (vectors**2).sum(1) - (queries**2).sum(1)[:, None]
    if metric == "cosine":
        queries, vectors = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (queries, vectors))
    return queries @ vectors.T


def recall(found: np.ndarray, best: np.ndarray) -> float:
    return float((best[:, :, None] == found[:, None, :]).any(2).mean())


@pytest.fixture(scope="module")
def clustered() -> tuple[np.ndarray, np.ndarray, pl.DataFrame]:
    rng = np.random.default_rng(2)
    scales = np.arange(1, DIM + 1) ** -0.7
    centres = 2 * rng.normal(size=(40, DIM)) * scales
    vectors, queries = ((centres[rng.integers(40, size=n)] + rng.normal(size=(n, DIM)) * scales).astype(np.float32) for n in (N, QUERIES))
    return vectors, queries, pl.DataFrame({"u": rng.random(N), "side": vectors @ queries.mean(0)})


@pytest.mark.parametrize(
    ("name", "metric"),
    [*((name, "cosine") for name in MADE), *((name, metric) for name in ("leanvec", "faiss", "usearch", "svs float16") for metric in ("ip", "l2"))],
)
def test_recall_holds_under_every_filter_and_after_growth(clustered: Any, name: str, metric: str) -> None:
    vectors, queries, attributes = clustered
    half = N // 2 + 400
    index = made(name, metric).build(vectors[:half], attributes=attributes[:half])
    index.add(vectors[half:], attributes=attributes[half:])
    index.remove(list(range(0, N, 7)))
    side = attributes["side"]
    random = [field("u") < share for share in (0.9, 0.3, 0.05, 0.001)]
    for where in (None, *random, field("side") < side.quantile(0.5), field("side") < side.quantile(0.05)):
        allowed = np.arange(N) % 7 > 0
        if where is not None:
            allowed &= index.bitmap(where).mask()
        truth = scores_of(queries, vectors, metric)
        truth[:, ~allowed] = -np.inf
        n = min(10, int(allowed.sum()))
        hits = index.search(queries, 10, where=where)
        assert ((hits.indices >= 0).sum(1) == n).all(), hits.plan
        assert allowed[hits.indices[hits.indices >= 0]].all()
        assert recall(hits.indices, np.argsort(-truth, axis=1)[:, :n]) >= 0.92, (where, hits.plan)
        near = (
            {"rtol": 0.03, "atol": 0.3}
            if name in ("leanvec", "leanvec 4 bits")
            else {"rtol": 2e-2, "atol": 2e-2}
            if " " in name
            else {"rtol": 1e-3, "atol": 1e-3}
        )
        np.testing.assert_allclose(hits.scores[:, :n], np.take_along_axis(truth, hits.indices[:, :n].astype(int), 1), **near)
    truth = np.where(np.arange(N) % 7 > 0, scores_of(queries, vectors, metric), -np.inf)
    assert recall(index.search(queries, 10, budget=1.0).indices, np.argsort(-truth)[:, :10]) > 0.95


@pytest.mark.parametrize("name", MADE)
def test_a_file_answers_the_same_grows_on_and_shows_damage(tmp_path: Path, clustered: Any, name: str) -> None:
    vectors, queries, _ = clustered
    index = made(name).build(vectors[:1_000])
    index.save(tmp_path / "index")
    again = ItemIndex.load(tmp_path / "index")
    one, two = (each.search(queries, 5) for each in (index, again))
    np.testing.assert_array_equal(one.indices, two.indices)
    assert again.nbytes == index.nbytes
    assert index.nbytes > 1_000 * DIM
    again.add(queries[:1], [5_000])
    assert again.search(queries[0], 1)[0] == [5_000]
    if "leanvec" in name:
        return
    file = tmp_path / "index" / "index.safetensors"
    content = bytearray(file.read_bytes())
    head = 8 + int.from_bytes(content[:8], "little")
    at = content.index(b'"own.file.')
    first = int(content[content.index(b"data_offsets", at) :].split(b"[")[1].split(b",")[0])
    content[head + first + 40] ^= 255
    file.write_bytes(bytes(content))
    with pytest.raises(CorruptFile):
        ItemIndex.load(tmp_path / "index")


def test_an_engine_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, clustered: Any) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] in ("faiss", "hnswlib", "usearch", "svs"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr("importlib.import_module", lambda name: without(name))
    for engine in ("faiss", "hnswlib", "usearch", "svs"):
        with pytest.raises(MissingExtra, match="ann"):
            GraphIndex(engine=engine).build(clustered[0])  # type: ignore[arg-type]


@settings(deadline=None, max_examples=50)
@given(numpy_arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 70)), elements=st.floats(-100, 100, width=32)), st.integers(0, 99))
def test_codes_are_within_half_a_step_and_rotations_keep_products(vectors: np.ndarray, seed: int) -> None:
    coded, facts = codes.encode(vectors)
    assert (np.abs(codes.decode(coded, facts) - vectors) <= facts[:, :1] * 0.51 + 1e-5).all()
    finer = codes.decode(coded, facts) + codes.remainder(vectors, coded, facts) * facts[:, :1] / 256
    assert (np.abs(finer - vectors) <= facts[:, :1] / 250 + 1e-4).all()
    whole, given_facts = codes.quantize(vectors)
    np.testing.assert_allclose(whole * given_facts[:, :1], vectors, atol=float(np.abs(vectors).max()) / 10_000 + 1e-30)
    exact = codes.decode(coded, facts).astype(float) @ vectors[0].astype(float)
    for row in range(len(vectors)):
        product = codes.inner(whole[0], given_facts[0, 0], given_facts[0, 1], coded, facts, row)
        assert product == pytest.approx(exact[row], rel=1e-3, abs=1e-3 * max(1.0, float(np.abs(vectors).max()) ** 2))
    turned = Rotation(vectors.shape[1], seed)(vectors)
    np.testing.assert_allclose(turned @ turned.T, vectors.astype(float) @ vectors.T.astype(float), rtol=1e-3, atol=0.5)


@settings(deadline=None, max_examples=50)
@given(numpy_arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 40).map(lambda half: 2 * half)), elements=st.floats(-100, 100, width=32)))
def test_codes_of_4_bits_are_no_worse_than_even_levels_and_their_products_are_exact(vectors: np.ndarray) -> None:
    coded, facts = codes.encode(vectors, 4)
    assert (coded.shape, coded.dtype) == ((len(vectors), vectors.shape[1] // 2), np.uint8)
    plain = codes.decode(coded, facts).astype(float)
    low, high = np.minimum(vectors.min(1, keepdims=True), 0).astype(float), np.maximum(vectors.max(1, keepdims=True), 0).astype(float)
    even = np.where(high - low > 1e-30, (high - low) / 15, 1)
    zero = np.round(low / even)
    level = (np.clip(np.round(vectors / even) - zero, 0, 15) + zero) * even
    assert (((plain - vectors) ** 2).sum(1) <= ((level - vectors) ** 2).sum(1) * 1.001 + 1e-3 * (vectors.astype(float) ** 2).sum(1) + 1e-9).all()
    whole, given_facts = codes.quantize(vectors)
    for row in range(len(vectors)):
        exact = int(codes.unpacked(coded)[row].astype(np.int64) @ whole[0].astype(np.int64))
        assert _compiled_product(whole[0], coded, row) == codes.product(whole[0], coded, row) == exact
        product = codes.inner(whole[0], given_facts[0, 0], given_facts[0, 1], coded, facts, row)
        assert product == pytest.approx(plain[row] @ vectors[0].astype(float), rel=1e-3, abs=1e-3 * max(1.0, float(np.abs(vectors).max()) ** 2))
    again = np.empty(vectors.shape[1], np.int16)
    total = vamana_build.as_query(coded, facts, 0, again)
    np.testing.assert_allclose(again * facts[0, 0], plain[0], atol=1e-4)
    assert total == pytest.approx(plain[0].sum(), abs=1e-2)


@numba.njit
def _compiled_product(whole: np.ndarray, coded: np.ndarray, row: int) -> int:
    return codes.product(whole, coded, row)


def test_pruning_leaves_no_link_that_a_nearer_one_replaces(clustered: Any) -> None:
    vectors = clustered[0][:600]
    coded, facts = codes.encode(vectors)
    links, entries = vamana_build.build(coded, facts, np.arange(600), 12, 48, 1.2, 0)
    plain = codes.decode(coded, facts).astype(float)
    apart = ((plain[:, None] - plain[None]) ** 2).sum(2)
    reached, border = set(entries.tolist()), entries.tolist()
    while border:
        border = [link for row in border for link in links[row].tolist() if link >= 0 and link not in reached and not reached.add(link)]  # type: ignore[func-returns-value]
    assert len(reached) >= 599
    for row in range(600):
        own = links[row][links[row] >= 0]
        assert row not in own
        assert np.unique(own).size == own.size
    # A chosen link may be this much nearer to another one than to its own row, and no more: links are chosen from the nearest on.
    full = [row for row in range(600) if (links[row] >= 0).sum() == 12]
    assert len(full) < 600, "some rows have fewer links than they may: pruning took place"
    assert np.mean([apart[row][links[row][links[row] >= 0]].min() <= 1.001 * np.partition(apart[row], 1)[1] for row in range(600)]) > 0.98


def test_projections_for_other_queries() -> None:
    rng = np.random.default_rng(3)
    scales = np.arange(1, 65) ** -1.0
    items, queries, more = (rng.normal(size=(n, 64)) * one for n, one in ((3_000, scales), (1_000, scales[::-1]), (100, scales[::-1])))
    h, g = moment(items), moment(queries)

    def error(a: np.ndarray, b: np.ndarray) -> float:
        return float(((more @ items.T - more @ a @ b.T @ items.T) ** 2).mean() / ((more @ items.T) ** 2).mean())

    pairs = {"pca": pca(h, 8), "closed": closed_form(h, g, 8)}
    errors = {name: error(*pair) for name, pair in pairs.items()}
    assert errors["closed"] < errors["pca"] - 0.2, errors
    (a, b), trace = pairs["closed"], (np.trace(g), np.trace(h))
    np.testing.assert_allclose(a.T @ g @ a / trace[0], b.T @ h @ b / trace[1], atol=1e-3, rtol=1e-3)
    root = np.linalg.svd(np.linalg.cholesky(g).T @ np.linalg.cholesky(h), compute_uv=False)
    least = (root[8:] ** 2).sum() / (root**2).sum()
    learned = np.trace(g @ h) - 2 * np.trace(g @ pairs["closed"][0] @ pairs["closed"][1].T @ h)
    learned += np.trace(pairs["closed"][1] @ pairs["closed"][0].T @ g @ pairs["closed"][0] @ pairs["closed"][1].T @ h)
    assert learned / np.trace(g @ h) == pytest.approx(least, rel=1e-2), "no pair of 8 columns does better (Eckart and Young)"
    leading, _ = pca(h, 8)
    assert np.abs(np.linalg.eigh(h)[1][:, -8:].T @ leading).sum() == pytest.approx(8, rel=1e-6)


def test_frank_wolfe_is_the_authors() -> None:
    authors = pytest.importorskip("svs.leanvec")
    rng = np.random.default_rng(3)
    scales = np.arange(1, 49) ** -0.5
    items, queries, more = (rng.normal(size=(n, 48)) * one for n, one in ((2_000, scales), (500, scales[::-1]), (100, scales[::-1])))
    h, g = moment(items), moment(queries)
    a, b = frank_wolfe(h, g, 12)
    theirs_b, theirs_a = authors.compute_leanvec_matrices(items, queries, 12)
    np.testing.assert_allclose(a, theirs_a, atol=1e-3)
    np.testing.assert_allclose(b, theirs_b, atol=1e-3)
    errors = [np.linalg.norm(more @ (np.eye(48) - one @ two.T) @ items.T) for one, two in (closed_form(h, g, 12), (a, b), pca(h, 12))]
    assert errors == sorted(errors)


def test_learned_queries_help_when_they_differ_and_are_not_to_be_measured_with(clustered: Any) -> None:
    rng = np.random.default_rng(4)
    scales = np.arange(1, 129) ** -1.0
    vectors, queries, held = (
        (rng.normal(size=(n, 128)) * one).astype(np.float32) for n, one in ((2_000, scales), (600, scales[::-1]), (200, scales[::-1]))
    )
    best = np.argsort(-held @ vectors.T, axis=1)[:, :10]
    plain = LeanVecIndex(metric="ip", dims=32, degree=16, build_window=32).build(vectors)
    learned = LeanVecIndex(metric="ip", dims=32, degree=16, build_window=32).learn(queries).build(vectors)
    budget = 0.2
    assert recall(learned.search(held, budget=budget).indices, best) > recall(plain.search(held, budget=budget).indices, best) + 0.1
    with pytest.warns(UserWarning, match="learned from"):
        learned.search(np.concatenate([held, queries[:20]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned.search(held)


def test_lower_rank_is_reported_and_no_obstacle(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(5)
    vectors = (rng.normal(size=(800, 10)) @ rng.normal(size=(10, 96))).astype(np.float32)
    index = LeanVecIndex(dims=32, degree=16, build_window=32).learn(vectors[:100] + 0.0).build(vectors)
    assert "span 10 of 96 dimensions" in caplog.text
    queries = vectors[200:260] * 1.5
    assert recall(index.search(queries).indices, np.argsort(-scores_of(queries, vectors, "cosine"), axis=1)[:, :10]) > 0.9


def test_mistakes_of_settings_have_names(clustered: Any) -> None:
    vectors, queries, _ = clustered
    cases: list[tuple[type[Exception], Any]] = [
        (ConfigError, lambda: LeanVecIndex(dims=33).build(vectors)),
        (ConfigError, lambda: LeanVecIndex(dims=0)),
        (ConfigError, lambda: LeanVecIndex(projection="random")),  # type: ignore[arg-type]
        (ConfigError, lambda: LeanVecIndex(projection="closed-form").build(vectors)),
        (ConfigError, lambda: LeanVecIndex(degree=64, build_window=32)),
        (ConfigError, lambda: LeanVecIndex(alpha=0.9)),
        (ConfigError, lambda: LeanVecIndex(first_bits=16)),  # type: ignore[arg-type]
        (ConfigError, lambda: LeanVecIndex(second_bits=4)),  # type: ignore[arg-type]
        (ConfigError, lambda: LeanVecIndex(recall=1.0)),
        (ConfigError, lambda: LeanVecIndex().learn(queries[:, :8]).build(vectors)),
        (EmptyData, lambda: LeanVecIndex().learn(queries[:0])),
        (ConfigError, lambda: GraphIndex(engine="annoy")),  # type: ignore[arg-type]
        (ConfigError, lambda: GraphIndex(engine="hnswlib", storage="sq8")),
        (ConfigError, lambda: GraphIndex(engine="svs", storage="sq8")),
        (ConfigError, lambda: GraphIndex(engine="usearch", storage="sq8", metric="l2")),
        (ConfigError, lambda: GraphIndex(degree=0)),
        (ConfigError, lambda: GraphIndex(storage="float16", metric="ip").build(vectors * 1e6)),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
