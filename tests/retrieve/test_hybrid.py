"""Words and vectors as one index: filters through both, changes in both, fused as said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sartor.data.world import World
from sartor.errors import ConfigError, CorruptFile, DuplicateRows, EmptyData, FileProblem, MissingColumn, SartorError, SpaceMismatch
from sartor.represent.text import Cached, truncate, uncached
from sartor.retrieve.bm25 import BM25
from sartor.retrieve.fusion import Pool, reciprocal_rank
from sartor.retrieve.hybrid import HybridIndex
from sartor.retrieve.index import ItemIndex

FIELDS = ["title", "text"]


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return World(people=10, items=300, seed=4).population().items.collect()


def made(frame: pl.DataFrame, **settings: Any) -> HybridIndex:
    return HybridIndex(words=BM25(fields=dict.fromkeys(FIELDS, 1.0)), **settings).build(
        frame.select(FIELDS), frame["item"].to_list(), attributes=frame
    )


def test_what_both_find_is_fused_by_ranks(frame: pl.DataFrame) -> None:
    index, query = made(frame), frame["title"][7]
    found, near = index.lists([query], 100)
    expected = Pool.of([found, near])
    assert index.search([query], 7)[0] == expected.best(reciprocal_rank(expected), 7)[0][0].tolist()
    # Vectors of letters find what no whole word does.
    few = HybridIndex().build(["paper lantern", "garden hose", "film about a garden"])
    assert few.words.search(["lanterms"])[0] == []
    hits = few.search(["lanterms"], 1)
    assert hits[0] == [0]
    assert "reciprocal-rank" in hits.plan
    assert "1 queries without a known word" in hits.plan
    (best,) = made(frame, fusion="weighted", weights=(1.0, 0.0)).search([query], 1)[0]
    assert index.words.scores([query])[0, best] == found.scores[0, 0]


@pytest.mark.parametrize("kind", ["exact", "planned"])
def test_filters_hold_for_both(frame: pl.DataFrame, kind: str) -> None:
    index = made(frame, vectors=ItemIndex.make(kind))
    years = dict(frame.select("item", "year").iter_rows())
    hits = index.search(["quiet films", "mystery"], 20, where="year >= 2005")
    for row in range(2):
        assert len(hits[row]) == 20
        assert all(years[item] >= 2005 for item in hits[row])
    allowed = frame["item"].to_list()[:5]
    assert set(index.search(["quiet films"], 10, where="year >= 1900", allowed=allowed)[0]) <= set(allowed)


def test_documents_come_and_go(frame: pl.DataFrame, tmp_path: Path) -> None:
    index = made(frame.head(200))
    index.add(frame.tail(100).select(FIELDS), frame["item"].to_list()[200:], frame.tail(100))
    assert index.remove([3, 250, 9999]) == 2
    assert index.size == 298
    whole = made(frame.filter(~pl.col("item").is_in([3, 250])))
    queries = ["quiet thriller", "silver lantern", "cooking"]
    for one, two in zip(index.search(queries, 10), whole.search(queries, 10), strict=True):
        assert one == two
    with pytest.raises(DuplicateRows):
        index.add(frame.head(1).select(FIELDS), [4], frame.head(1))
    index.add(frame.filter(pl.col("item") == 3).select(FIELDS), [3], frame.filter(pl.col("item") == 3))
    assert index.size == 299
    index.save(tmp_path / "index")
    again = HybridIndex.load(tmp_path / "index")
    assert list(again.search(queries, 5, where="year > 1990")) == list(index.search(queries, 5, where="year > 1990"))
    index.remove([5])
    index.vectors.save(tmp_path / "index" / "vectors")
    with pytest.raises(CorruptFile):
        HybridIndex.load(tmp_path / "index")


def test_mistakes_have_names(frame: pl.DataFrame, tmp_path: Path) -> None:
    index = made(frame.head(5))
    cases: list[tuple[type[Exception], Any]] = [
        (ConfigError, lambda: index.search([" "])),
        (ConfigError, lambda: index.search(["quiet"], 0)),
        (SartorError, lambda: index.search(["quiet"], where="flavour = 'sweet'")),
        (ConfigError, lambda: HybridIndex(fusion="sum")),  # type: ignore[arg-type]
        (ConfigError, lambda: HybridIndex(vectors=ItemIndex.make("exact", metric="l2"))),
        (EmptyData, lambda: HybridIndex().build([])),
        (FileProblem, lambda: HybridIndex.load(tmp_path)),
        (SpaceMismatch, lambda: HybridIndex().restore(np.ones((5, 512), np.float32), range(5), None, "another")),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    assert len(index.search(["quiet"], 50)[0]) == 5
    assert index.search(["?!"], 3)[0] == []
    blank = HybridIndex().build(["ash elm", "", None])  # type: ignore[list-item]
    assert blank.search(["ash"], 1)[0] == [0]


def test_documents_that_words_refuse_come_into_neither_side() -> None:
    both = pl.DataFrame({"title": ["ash", "elm"], "text": ["old", "young"]})
    index = HybridIndex(words=BM25(fields={"title": 1.0, "text": 1.0})).build(both, ["a", "b"])
    with pytest.raises(MissingColumn):
        index.add(pl.DataFrame({"title": ["fir"]}), ["c"])
    index.add(pl.DataFrame({"title": ["oak"], "text": ["tall"]}), ["d"])
    assert index.words.ids == index.vectors.ids == ["a", "b", "d"]
    assert index.search(["oak"], 1)[0] == ["d"]


def test_documents_are_kept_in_the_cache_and_queries_are_not(tmp_path: Path) -> None:
    index = HybridIndex()
    index._encoder = cached = Cached(index._encoder, tmp_path)
    index.build(["ash", "elm"])
    kept = set(cached.folder.iterdir())
    assert index.search(["my own words"], 1)[0]
    assert set(cached.folder.iterdir()) == kept
    assert cached.misses == 2
    with pytest.warns(UserWarning, match="not trained to be cut"):
        narrow = truncate(cached, 64)
    np.testing.assert_array_equal(uncached(narrow).encode(["ash"]), narrow.encode(["ash"]))
    assert uncached(narrow).fingerprint == narrow.fingerprint
    assert set(cached.folder.iterdir()) == kept
