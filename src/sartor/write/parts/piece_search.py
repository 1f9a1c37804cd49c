"""Which of a person's past pieces go with a request: by words, by meaning, or by age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from sartor.retrieve.bm25 import BM25

Ranker = Literal["bm25", "dense", "recency"]


def ranked(
    ranker: Ranker, queries: Sequence[str], documents: Sequence[str], *, asked: np.ndarray | None = None, vectors: np.ndarray | None = None
) -> list[list[int]]:
    """For each query the numbers of all documents, best first; those that nothing speaks for come last, the newest first.

    Parameters
    ----------
    documents: oldest first.
    asked, vectors: float [queries, dim] and [documents, dim], unit vectors, for "dense".
    """
    newest = list(range(len(documents)))[::-1]
    if ranker == "recency" or not documents:
        return [list(newest) for _ in queries]
    if ranker == "dense":
        assert asked is not None
        assert vectors is not None
        scores = np.asarray(asked, np.float32) @ np.asarray(vectors, np.float32).T
        return [[int(at) for at in np.lexsort((-np.arange(len(documents)), -row))] for row in scores]
    if not any(document.strip() for document in documents):
        return [list(newest) for _ in queries]
    index = BM25().build(list(documents))
    words = [row for row, query in enumerate(queries) if query.strip()]
    hits = index.search([queries[row] for row in words], len(documents)).indices if words else np.empty((0, 0), np.int32)
    found = {row: [int(one) for one in own if one >= 0] for row, own in zip(words, hits, strict=True)}
    out = []
    for row in range(len(queries)):
        own = found.get(row, [])
        spoken_for = {*own}
        out.append([*own, *(one for one in newest if one not in spoken_for)])
    return out
