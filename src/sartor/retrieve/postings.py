"""Which documents hold which words, and how often: parts of an inverted index, and sums over a query's words."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True, eq=False)
class Segment:
    """Documents that came together: which of them hold which word, and how often."""

    lists: np.ndarray
    """int32 [m], the numbers of the words (of a field) that occur, ascending."""
    starts: np.ndarray
    """int64 [m + 1], where in the next two each word's documents are."""
    rows: np.ndarray
    """int32, ascending inside each word."""
    counts: np.ndarray
    """float32."""

    @classmethod
    def of(cls, words: np.ndarray, rows: np.ndarray, counts: np.ndarray) -> Segment:
        order = np.lexsort((rows, words))
        lists, starts = np.unique(words[order], return_index=True)
        return cls(lists.astype(np.int32), np.append(starts, words.size).astype(np.int64), rows[order].astype(np.int32), counts[order])

    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.repeat(self.lists, np.diff(self.starts)), self.rows, self.counts


@numba.njit(cache=True, nogil=True)
def add_up(start, stop, indptr, first, last, weights, rows, impacts, out):  # type: ignore[no-untyped-def]
    """Add to `out`, float32 [queries, rows], what each word of a query weighs times the impacts of its documents."""
    for query in range(start, stop):
        own = out[query]
        for at in range(indptr[query], indptr[query + 1]):
            weight = weights[at]
            for place in range(first[at], last[at]):
                own[rows[place]] += weight * impacts[place]
