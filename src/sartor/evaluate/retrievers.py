"""Reference runs: well-known ways to search, all over the same documents and through the same measure.

| name            | what it is |
|-----------------|------------|
| bm25            | BM25 over title and text as one field ("flat"), k1 = 0.9, b = 0.4 |
| bm25-multi      | the same over title and text as two fields of equal weight |
| dense:ENCODER   | one vector per document (title and text), cosine, exact |
| hybrid:ENCODER  | both by reciprocal rank |
| late:ENCODER    | a vector per token and MaxSim, candidates by fixed dimensional encodings (MUVERA) |
| sparse:FOLDER   | learned term weights of a masked language model |

ENCODER is what `represent.text.text_encoder` takes: hashed, minilm, a folder. Settings follow Kamalloo et al., Resources for Brewing BEIR, 2023.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sartor.errors import ConfigError, EmptyData
from sartor.evaluate.collections import Collection
from sartor.evaluate.ir import as_run
from sartor.retrieve.hits import Hits

DEPTH = 100
"""Documents per query in a run: what Recall@100 looks at."""
REFERENCES = ("bm25", "bm25-multi", "dense:ENCODER", "hybrid:ENCODER", "late:ENCODER", "sparse:FOLDER")
Search = Callable[[Sequence[str], int], Hits]


@dataclass(frozen=True, eq=False)
class Run:
    """What a retriever found in a collection, and what it cost."""

    name: str
    collection: str
    split: str
    table: pl.DataFrame
    """query, document, score."""
    index_bytes: int
    build_seconds: float
    queries_per_second: float
    """All queries in one batch, after one query to warm up."""
    latency_ms: float
    """Median of single queries, one after another; of 50 of them."""


def retriever(name: str, collection: Collection, *, progress: bool = False) -> tuple[Search, int]:
    """A reference run's search over a collection, and its index's bytes; raises `ConfigError` for a name that is not one."""
    kind, _, rest = name.partition(":")
    ids = collection.documents["document"].to_list()
    if kind in ("bm25", "bm25-multi") and not rest:
        from sartor.retrieve.bm25 import BM25

        fields = {"title": 1.0, "text": 1.0} if kind == "bm25-multi" else None
        documents = collection.documents.select("title", "text").fill_null("") if fields else collection.texts().to_list()
        words = BM25(fields=fields).build(documents, ids)
        return words.search, words.nbytes
    if kind == "dense" and rest:
        from sartor.represent.text import text_encoder

        found = Dense(text_encoder(rest), collection, progress=progress)
        return found, found.index.nbytes
    if kind == "hybrid" and rest:
        from sartor.retrieve.hybrid import HybridIndex

        both = HybridIndex(encoder=rest).build(pl.DataFrame({"text": collection.texts()}), ids)
        return both.search, both.words.nbytes + both.vectors.nbytes
    if kind == "late" and rest:
        return _late(rest, collection, progress)
    if kind == "sparse" and rest:
        from sartor.retrieve.learned_sparse import LearnedSparse

        terms = LearnedSparse(rest).build(collection.texts().to_list(), ids, progress=progress)
        return terms.search, terms.nbytes
    raise ConfigError(f"there is no reference run '{name}'", fix=f"there are {', '.join(REFERENCES)}")


class Dense:
    """One-vector search with any encoder (`represent.text.TextEncoder`); documents without content are not indexed."""

    def __init__(self, encoder: Any, collection: Collection, *, progress: bool = False) -> None:
        from sartor.retrieve.index import ItemIndex

        self.encoder = encoder
        self.vectors = encoder.encode(collection.texts().to_list(), progress=progress)
        """float32 [documents, dim], zeros where a document has no content."""
        full = self.vectors.any(axis=1)
        if not full.any():
            raise ConfigError("the encoder finds nothing in any document", fix="use another encoder")
        names = collection.documents["document"].filter(pl.Series(full)).to_list()
        self.index = ItemIndex.make("exact", metric="cosine").build(self.vectors[full], names)

    def __call__(self, queries: Sequence[str], k: int) -> Hits:
        return self.near(self.encoder.encode(list(queries)), k)

    def near(self, asked: np.ndarray, k: int) -> Hits:
        """The documents nearest to vectors; a vector of zeros has no direction and finds nothing."""
        blank = np.asarray(~asked.any(axis=1))
        asked = np.where(blank[:, None], 1, asked)
        hits = self.index.search(asked, k)
        hits.indices[blank] = -1
        return hits


def _late(name: str, collection: Collection, progress: bool) -> tuple[Search, int]:
    from sartor.represent.encoder import token_vectors
    from sartor.represent.text import text_encoder
    from sartor.retrieve.fixed_encoding import FixedEncoding
    from sartor.retrieve.multi_vector import MultiVectors
    from sartor.retrieve.muvera import MuveraIndex

    encoder = text_encoder(name)
    made = token_vectors(encoder, collection.texts().to_list(), progress=progress)
    documents = MultiVectors.packed(made.vectors, made.offsets, collection.documents["document"].to_list())
    index = MuveraIndex(encoding=FixedEncoding(dim=documents.dim)).build(documents)

    def search(queries: Sequence[str], k: int) -> Hits:
        asked = token_vectors(encoder, list(queries))
        return index.search(MultiVectors.packed(asked.vectors, asked.offsets), k, candidates=min(max(200, 2 * k), len(documents)))

    return search, index.nbytes


def run(name: str, collection: Collection, *, search: Search | None = None, index_bytes: int = 0, depth: int = DEPTH, progress: bool = False) -> Run:
    """Build a retriever, ask it every query, and time it.

    Parameters
    ----------
    name: of a reference run; or any name, with `search` (queries, k -> `Hits` whose ids are the documents') and its `index_bytes`.
    depth: documents per query.
    """
    start = time.perf_counter()
    if search is None:
        search, index_bytes = retriever(name, collection, progress=progress)
    built = time.perf_counter() - start
    queries, texts = collection.queries["query"].to_list(), collection.queries["text"].fill_null("").to_list()
    asked = [(query, text) for query, text in zip(queries, texts, strict=True) if text.strip()]
    if not asked:
        raise EmptyData(f"no query of {collection.name} has a text", fix="give queries with words")
    k = min(depth, collection.documents.height)
    search([asked[0][1]], k)
    start = time.perf_counter()
    hits = search([text for _, text in asked], k)
    seconds = time.perf_counter() - start
    single = []
    for _, text in asked[:50]:
        start = time.perf_counter()
        search([text], k)
        single.append(time.perf_counter() - start)
    table = table_of(hits, [query for query, _ in asked])
    return Run(name, collection.name, collection.split, table, index_bytes, built, len(asked) / seconds, 1000 * float(np.median(single)))


def table_of(hits: Hits, queries: Sequence[str]) -> pl.DataFrame:
    """What an index found as a run: query, document, score."""
    kept = hits.indices >= 0
    found = [[str(hits.ids[at]) for at in row[mask]] for row, mask in zip(hits.indices, kept, strict=True)]
    return as_run(queries, found, [row[mask].tolist() for row, mask in zip(hits.scores, kept, strict=True)])
