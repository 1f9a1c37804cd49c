"""How documents of a `BM25` index score for queries: the half of it that searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sartor.errors import BadValue, EmptyData, NotFitted
from sartor.parts.threads import even, over_rows, threads
from sartor.parts.topk import checked_k, top_k
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.hits import Hits
from sartor.retrieve.postings import Segment, add_up
from sartor.retrieve.words import checked_queries, tokens

SCORES_AT_ONCE = 250_000
"""Scores that a thread holds: longer batches are searched in parts, so that they stay in its cache."""
LEAST = float(np.nextafter(np.float32(0), np.float32(1)))
"""The least score above 0."""


class Scoring:
    """Searches what `BM25` keeps."""

    fields: Mapping[str, float]
    _built: bool
    _live: int
    _ids: list[Any]
    _words: list[dict[str, int]]
    """Of each field: word -> its number."""
    _segments: list[Segment]
    _alive: np.ndarray
    _found_in: np.ndarray
    """int64 [words], how many documents have each."""
    _norms: np.ndarray
    _weights: np.ndarray
    _field_of: np.ndarray
    _impacts: dict[int, np.ndarray]

    @property
    def rows(self) -> int:
        """How many rows are numbered, removed ones included."""
        return len(self._ids) if self._built else 0

    def _check_built(self) -> None:
        if not self._built:
            raise NotFitted("the index is not built", fix="call build(documents)")

    def known(self, queries: Sequence[str]) -> np.ndarray:
        """int64 [queries, 2]: how many different words each query has, and how many of them are in a document."""
        self._check_built()
        return self._known(tokens(checked_queries(queries)).to_list())

    def _known(self, queries: Sequence[Sequence[str]]) -> np.ndarray:
        out = []
        for words in queries:
            distinct = set(words)
            out.append([len(distinct), sum(any(self._found_in[own[word]] for own in self._words if word in own) for word in distinct)])
        return np.array(out, np.int64).reshape(-1, 2)

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """float32 [queries, rows]: 0 for documents without a word of the query, and for removed ones."""
        self._check_built()
        indptr, numbers, times = self._parsed(tokens(checked_queries(queries)).to_list())
        return self._scores(self._postings(numbers, times), indptr, np.zeros((indptr.size - 1, self.rows), np.float32))

    def _postings(self, numbers: np.ndarray, times: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """For every segment where each of some words has its documents, what the word weighs, and the segment's documents and impacts."""
        out: list[tuple[np.ndarray, ...]] = []
        for one in self._segments:
            at = np.searchsorted(one.lists, numbers)
            there = (at < one.lists.size) & (one.lists[np.minimum(at, one.lists.size - 1)] == numbers) if one.lists.size else np.zeros(at.size, bool)
            first, last = (np.where(there, one.starts[np.minimum(at + step, one.lists.size)], 0) for step in (0, 1))
            out.append((first, last, self._weights[numbers] * times, one.rows, self._impact(one)))
        return out

    def _scores(self, postings: list[tuple[np.ndarray, ...]], indptr: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Add up into zeros, float32 [queries, rows], the queries whose words `indptr` bounds."""
        bounds = even(np.ones(len(out)), threads() if len(out) > 1 else 1)
        for one in postings:
            over_rows(add_up, bounds, indptr, *one, out)
        if self._live < self.rows:
            out[:, ~self._alive] = 0
        return out

    def _impact(self, one: Segment) -> np.ndarray:
        """float32, what each entry adds before its word's weight: count / (count + norm), made once for each state of the index."""
        if id(one) not in self._impacts:
            fields = np.repeat(self._field_of[one.lists], np.diff(one.starts))
            self._impacts[id(one)] = one.counts / (one.counts + self._norms[fields, one.rows])
        return self._impacts[id(one)]

    def ceilings(self, queries: Sequence[str]) -> np.ndarray:
        """float32 [queries], what no document's score reaches: the sum of the idf of the query's words, in all fields, each word as often as it
        is asked. A word that no document holds counts, too, so that a match of one word among five unknown ones is a weak one.
        """
        self._check_built()
        out = np.zeros(len(queries), np.float32)
        for at, words in enumerate(tokens(checked_queries(queries)).to_list()):
            for word in words:
                for own, weight in zip(self._words, self.fields.values(), strict=True):
                    held = int(self._found_in[own[word]]) if word in own else 0
                    out[at] += weight * np.log1p((self._live - held + 0.5) / (held + 0.5))
        return out

    def matched(self, queries: Sequence[str]) -> np.ndarray:
        """float32 [queries, rows], the share of the query's different words that a document holds, in whatever field."""
        self._check_built()
        asked = [set(words) for words in tokens(checked_queries(queries)).to_list()]
        out = np.zeros((len(asked), self.rows), np.float32)
        for query, words in enumerate(asked):
            for word in words:
                has = np.zeros(self.rows, bool)
                for number in [own[word] for own in self._words if word in own]:
                    for one in self._segments:
                        at = int(np.searchsorted(one.lists, number))
                        if at < one.lists.size and one.lists[at] == number:
                            has[one.rows[one.starts[at] : one.starts[at + 1]]] = True
                out[query, has] += 1
            out[query] /= max(1, len(words))
        out[:, ~self._alive] = 0
        return out

    def search(self, queries: Sequence[str], k: int = 10, *, allowed: Bitmap | np.ndarray | None = None) -> Hits:
        """The k best documents for each query that hold at least one of its words, among those allowed (a bitmap, or bool [rows]).

        A query without a known word finds nothing: its rows are -1, and `plan` counts such queries. Raises `ConfigError` for an empty query.
        """
        self._check_built()
        if not self._live:
            raise EmptyData("the index holds no document any more", fix="add some")
        mask = self._mask(allowed)
        asked = checked_queries(queries)
        k = checked_k(k, len(asked), self.rows)
        found, best = np.full((len(asked), k), -1, np.int32), np.full((len(asked), k), -np.inf, np.float32)
        words = tokens(asked).to_list()
        indptr, numbers, times = self._parsed(words)
        postings = self._postings(numbers, times)
        step = max(1, threads() * SCORES_AT_ONCE // self.rows)
        room = np.empty((min(step, len(asked)), self.rows), np.float32)
        for start in range(0, len(asked), step):
            part = room[: min(step, len(asked) - start)]
            part.fill(0)
            scores = self._scores(postings, indptr[start : start + len(part) + 1], part)
            if mask is not None:
                scores[:, ~mask] = 0
            # A word that everybody has still counts a little, so that 0 means no word at all.
            top, values = top_k(scores, k, least=LEAST)
            found[start : start + step, : top.shape[1]], best[start : start + step, : top.shape[1]] = top, values
        lost = int((self._known(words)[:, 1] == 0).sum())
        what = f"BM25 over {self._live if mask is None else int((mask & self._alive).sum())} of {self._live} documents"
        return Hits(found, best, self._ids, what + (f"; {lost} queries without a known word" if lost else ""))

    def _parsed(self, queries: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The known words of all queries, one after another: bounds int64 [queries + 1], numbers int32, how often float32."""
        indptr, numbers, times = [0], [], []
        for words in queries:
            for word, often in Counter(words).items():
                for own in self._words:
                    if (number := own.get(word)) is not None:
                        numbers.append(number)
                        times.append(often)
            indptr.append(len(numbers))
        return np.array(indptr, np.int64), np.array(numbers, np.int32), np.array(times, np.float32)

    def _mask(self, allowed: Bitmap | np.ndarray | None) -> np.ndarray | None:
        if allowed is None:
            return None
        mask = allowed.mask() if isinstance(allowed, Bitmap) else np.asarray(allowed)
        if mask.dtype != bool or mask.shape != (self.rows,):
            raise BadValue(f"what is allowed covers {mask.size} rows, the index has {self.rows}", fix="make it for this version of the index")
        return mask
