"""BM25 against the formula written out literally, whatever was added and removed in between."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, ConfigError, CorruptFile, DuplicateRows, EmptyData, MissingColumn, NotFitted, WrongType
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.bm25 import BM25
from sartor.retrieve.words import tokens

VOCABULARY = ["ash", "birch", "cedar", "elm", "fir", "gum", "hazel"]
TEXT = st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join)
DOCUMENT = st.tuples(TEXT, TEXT)


def literal(documents: dict[int, tuple[str, str]], query: str, fields: tuple[float, float], k1: float, b: float) -> dict[int, float]:
    """The formula of the module's docstring, word by word."""
    scores = dict.fromkeys(documents, 0.0)
    for field, weight in enumerate(fields):
        own = {row: re.findall(r"\w+", texts[field].lower()) for row, texts in documents.items()}
        mean = sum(map(len, own.values())) / len(own)
        for word in re.findall(r"\w+", query.lower()):
            holding = sum(word in words for words in own.values())
            if not holding:
                continue
            idf = math.log(1 + (len(own) - holding + 0.5) / (holding + 0.5))
            for row, words in own.items():
                if count := Counter(words)[word]:
                    scores[row] += weight * idf * count / (count + k1 * (1 - b + b * len(words) / mean))
    return scores


@settings(max_examples=40, deadline=None)
@given(
    first=st.lists(DOCUMENT, min_size=1, max_size=12), later=st.lists(st.lists(DOCUMENT, min_size=1, max_size=5), max_size=4),
    gone=st.sets(st.integers(0, 20), max_size=8), query=st.lists(st.sampled_from([*VOCABULARY, "unknown"]), min_size=1, max_size=5).map(" ".join),
    k1=st.sampled_from([0.0, 0.9, 2.0]), b=st.sampled_from([0.0, 0.4, 1.0]),
)  # fmt: skip
def test_scores_are_the_formula_after_any_changes(
    first: list[tuple[str, str]], later: list[list[tuple[str, str]]], gone: set[int], query: str, k1: float, b: float
) -> None:
    weights = {"title": 2.0, "text": 0.5}

    def table(documents: list[tuple[str, str]]) -> pl.DataFrame:
        return pl.DataFrame({"title": [one[0] for one in documents], "text": [one[1] for one in documents]})

    index = BM25(k1=k1, b=b, fields=weights).build(table(first))
    for part in later:
        index.add(table(part))
    every = [*first, *(one for part in later for one in part)]
    assert index.remove(sorted(gone)) == len({row for row in gone if row < len(every)})
    left = {row: one for row, one in enumerate(every) if row not in gone}
    assert len(index) == len(left)
    if not left:
        with pytest.raises(EmptyData):
            index.search([query])
        return
    expected = literal(left, query, (2.0, 0.5), k1, b)
    found = index.scores([query])[0]
    np.testing.assert_allclose([found[row] for row in left], [expected[row] for row in left], rtol=2e-5, atol=1e-6)
    assert not found[sorted(set(range(len(every))) - set(left))].any()
    # To the bit what an index built anew has, and what comes back from its arrays.
    fresh = BM25(k1=k1, b=b, fields=weights).build(table(list(left.values())), list(left))
    np.testing.assert_array_equal(fresh.scores([query])[0], [found[row] for row in left])
    again = BM25(k1=k1, b=b, fields=weights).from_arrays(index.arrays(), list(range(len(every))))
    np.testing.assert_array_equal(again.scores([query]), index.scores([query]))
    hits = index.search([query], 30)
    assert hits[0] == sorted((row for row in left if expected[row] > 1e-9), key=lambda row: -found[row]) or len(set(found[hits[0]])) < len(hits[0])
    words = set(query.split())
    shares = [len(words & set(f"{title} {text}".split())) / len(words) for title, text in left.values()]
    np.testing.assert_allclose(index.matched([query])[0][list(left)], shares, rtol=1e-6)


def test_one_text_for_all_fields_or_one_field_each() -> None:
    frame = pl.DataFrame({"title": ["Heat", "Ronin"], "categories": [["Crime", "Drama"], ["Action"]], "text": [None, "A car chase in Nice"]})
    flat, fields = BM25().build(frame, ["a", "b"]), BM25(fields={"title": 1.0, "text": 3.0}).build(frame, ["a", "b"])
    assert flat.search(["crime"])[0] == ["a"]
    assert fields.search(["crime"])[0] == []
    assert fields.search(["nice heat"])[0] == ["b", "a"]


def test_words_are_found_in_any_case_and_form() -> None:
    assert tokens(["Élan ﬁne, x-ray 2"]).to_list() == [["élan", "fine", "x", "ray", "2"]]
    plain = ["X-Ray_2 it's", "", " \t", "A\x00B C\x7fD"]
    assert tokens(plain).equals(tokens(pl.Series("text", plain))), "a query is cut as documents are"
    index = BM25().build(["ÉLAN vital", "other"])
    assert index.search(["élan"])[0] == [0]
    folded = BM25().build(["Große Straße", "ΟΔΟΣ", None, "Ångström"])  # type: ignore[list-item]
    assert [folded.search([one])[0] for one in ("STRASSE", "groSSe", "οδος", "ångström")] == [[0], [0], [1], [3]]


def test_only_what_is_allowed_and_never_more_than_there_is() -> None:
    index = BM25().build(["ash elm", "ash", "fir"])
    for allowed in (np.array([True, False, True]), Bitmap.of(np.array([True, False, True]))):
        hits = index.search(["ash"], 5, allowed=allowed)
        assert hits[0] == [0]
        assert hits.indices.tolist() == [[0, -1, -1, -1, -1]]
    assert "2 of 3" in hits.plan


def test_a_query_without_a_known_word_is_said_and_finds_nothing() -> None:
    index = BM25().build(["ash elm", "ash"])
    hits = index.search(["oak", "ash oak", "?!"])
    assert [hits[row] for row in range(3)][0::2] == [[], []]
    assert set(hits[1]) == {0, 1}
    assert "2 queries without a known word" in hits.plan
    assert index.known(["oak", "ash oak oak", "?!"]).tolist() == [[1, 0], [2, 1], [0, 0]]


def test_mistakes_have_names() -> None:
    index = BM25().build(["ash", "elm"], ["a", "b"])
    arrays = index.arrays()
    cases: list[tuple[type[Exception], Any]] = [
        (NotFitted, lambda: BM25().search(["ash"])),
        (ConfigError, lambda: BM25(k1=-1)),
        (ConfigError, lambda: BM25(b=2)),
        (ConfigError, lambda: BM25(fields={"title": 0})),
        (EmptyData, lambda: BM25().build([])),
        (WrongType, lambda: BM25().build("ash")),  # type: ignore[arg-type]
        (WrongType, lambda: BM25(fields={"title": 1}).build(["ash"])),
        (MissingColumn, lambda: BM25(fields={"title": 1}).build(pl.DataFrame({"text": ["ash"]}))),
        (DuplicateRows, lambda: BM25().build(["ash", "elm"], [1, 1])),
        (DuplicateRows, lambda: index.add(["fir"], ["a"])),
        (BadValue, lambda: index.add(["fir"], ["c", "d"])),
        (BadValue, lambda: index.search(["ash"], allowed=np.ones(3, bool))),
        (ConfigError, lambda: index.search(["ash"], 10**15)),
        (ConfigError, lambda: index.search(["ash"], True)),
        (ConfigError, lambda: index.search([""])),
        (ConfigError, lambda: index.search(["  "])),
        (ConfigError, lambda: index.search("ash")),
        (ConfigError, lambda: index.search(["ash \ud800"])),
        (WrongType, lambda: BM25().build(["ash \ud800"])),
        (ConfigError, lambda: index.search(["ash"], 0)),
        (ConfigError, lambda: index.search(["ash"], True)),
        (CorruptFile, lambda: BM25().from_arrays({name: array for name, array in arrays.items() if name != "starts"}, ["a", "b"])),
        (CorruptFile, lambda: BM25().from_arrays(arrays, ["a"])),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    assert index.search(["ash"])[0] == ["a"]
