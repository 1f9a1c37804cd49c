"""Binary codes: Hamming search against faiss, what rotation and second look are worth, and the contract of an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sartor.errors import ConfigError
from sartor.parts.threads import limit
from sartor.retrieve.binary import BinaryIndex, nearest_codes
from sartor.retrieve.index import ItemIndex


@pytest.fixture(scope="module")
def clustered() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    scales = np.arange(1, 65) ** -0.5
    centres = rng.normal(size=(80, 64)) * scales
    vectors, queries = ((centres[rng.integers(80, size=n)] + 0.7 * rng.normal(size=(n, 64)) * scales).astype(np.float32) for n in (4_000, 50))
    return vectors, queries


def test_hamming_distances_are_those_of_faiss() -> None:
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    codes, queries = (rng.integers(0, 2**63, size=(n, 3), dtype=np.uint64) for n in (500, 20))
    peer = faiss.IndexBinaryFlat(192)
    peer.add(codes.view(np.uint8))
    expected, _ = peer.search(queries.view(np.uint8), 40)
    with limit(3):
        rows, distances = nearest_codes(queries, codes, 40)
    np.testing.assert_array_equal(distances, expected)
    np.testing.assert_array_equal(distances, np.bitwise_count(queries[:, None] ^ codes[rows]).sum(2))
    among = np.arange(0, 500, 7, dtype=np.int32)
    few, near = nearest_codes(queries, codes, 5, among)
    assert np.isin(few, among).all()
    np.testing.assert_array_equal(near, np.sort(np.bitwise_count(queries[:, None] ^ codes[None, among]).sum(2), 1)[:, :5])


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_second_look_makes_scores_exact_and_recall_high(clustered: tuple[np.ndarray, np.ndarray], metric: str) -> None:
    vectors, queries = clustered
    truth = ItemIndex.make("exact", metric=metric).build(vectors).search(queries, 10)
    index = ItemIndex.make("binary", metric=metric).build(vectors)
    assert isinstance(index, BinaryIndex)
    assert index.code_bytes * 32 == vectors.nbytes

    def recall(budget: float | None) -> float:
        found = index.search(queries, 10, budget=budget).indices
        return float(np.mean([np.isin(one, two).mean() for one, two in zip(truth.indices, found, strict=True)]))

    assert recall(None) > 0.95
    assert recall(0.0) < recall(0.02) < recall(1.0)
    everything = index.search(queries, 10, budget=1.0)
    np.testing.assert_allclose(everything.scores, truth.scores, rtol=5e-3, atol=5e-3)


def test_learned_rotation_beats_random_directions(clustered: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, queries = clustered
    truth = ItemIndex.make("exact").build(vectors).search(queries, 10)
    recalls = {}
    for rotation in ("itq", "random"):
        index = ItemIndex.make("binary", rotation=rotation, bits=32).build(vectors)
        found = index.search(queries, 10, budget=0.02).indices
        recalls[rotation] = np.mean([np.isin(one, two).mean() for one, two in zip(truth.indices, found, strict=True)])
    assert recalls["itq"] > recalls["random"] + 0.05


def test_filters_changes_and_files(clustered: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    vectors, queries = clustered
    attributes = pl.DataFrame({"odd": [row % 2 == 1 for row in range(1_000)]})
    index = ItemIndex.make("binary", rotation="random", bits=200).build(vectors[:1_000], attributes=attributes)
    assert (index.search(queries, 10, where="odd").indices % 2 == 1).all()
    index.add(vectors[1_000:1_001], [5_000], pl.DataFrame({"odd": [True]}))
    index.remove([0])
    assert index.search(vectors[1_000], 1)[0] == [5_000]
    assert index.search(vectors[0], 1_000)[0].count(0) == 0
    again = ItemIndex.load(index.save(tmp_path / "index"))
    for one, two in zip(index.search(queries, 10), again.search(queries, 10), strict=True):
        assert one == two


def test_bad_settings_are_refused(clustered: tuple[np.ndarray, np.ndarray]) -> None:
    for settings in ({"rotation": "none"}, {"bits": 0}, {"oversample": 0}):
        with pytest.raises(ConfigError):
            ItemIndex.make("binary", **settings)
    with pytest.raises(ConfigError, match="65 bits of 64"):
        ItemIndex.make("binary", bits=65).build(clustered[0][:100])
    with pytest.raises(ConfigError, match="float16"):
        ItemIndex.make("binary", metric="ip").build(np.full((3, 4), 1e6))
