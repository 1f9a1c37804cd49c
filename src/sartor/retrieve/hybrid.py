"""Words and meaning together: BM25 beside an index of vectors over the same rows, one filter for both, and one fused list.

index = HybridIndex(encoder="minilm").build(frame.select("title", "text"), ids, attributes=frame)
hits = index.search(["quiet thriller"], 10, where="year >= 1990")
hits.plan                                                  # how words and vectors were searched, and how they were fused
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from sartor import _storage
from sartor.errors import BadValue, ConfigError, CorruptFile, FileProblem
from sartor.parts.topk import checked_k
from sartor.represent.text import TextEncoder, item_texts, text_encoder, uncached
from sartor.retrieve.bm25 import BM25, FLAT
from sartor.retrieve.filters import Filter
from sartor.retrieve.fusion import Pool, reciprocal_rank, weighted
from sartor.retrieve.hits import Hits
from sartor.retrieve.index import Allowed, ItemIndex
from sartor.retrieve.words import Documents, checked_queries

Fusion = Literal["reciprocal-rank", "weighted"]
VECTORS, WORDS = "vectors", "words.safetensors"
DEEP = 100
"""Items of each list at least that are fused, however few are asked for."""


@dataclass(kw_only=True, eq=False)
class HybridIndex:
    """Texts to be found by their words (BM25) and by their vectors (any `ItemIndex`), fused per query.

    Both count the same rows: documents are added and removed together. A document whose vector is zero (an empty text) is indexed under the
    mean direction of all others, since it cannot be left out of one side only.
    """

    words: BM25 = field(default_factory=BM25)
    vectors: ItemIndex = field(default_factory=lambda: ItemIndex.make("exact", metric="cosine"))
    encoder: str = "hashed"
    """Name or folder, as `represent.text.text_encoder` takes it."""
    fusion: Fusion = "reciprocal-rank"
    weights: tuple[float, float] = (1.0, 1.0)
    """Of words and of vectors."""

    encoded: np.ndarray = field(init=False, repr=False)
    """float32 [documents, dim], the vectors that were built from."""

    def __post_init__(self) -> None:
        if self.fusion not in ("reciprocal-rank", "weighted"):
            raise ConfigError(f"there is no fusion '{self.fusion}'", fix="use reciprocal-rank or weighted")
        if self.vectors.metric == "l2":
            raise ConfigError("texts are compared by direction", fix="use an index with metric cosine or ip")
        self._encoder: TextEncoder = text_encoder(self.encoder)

    @property
    def size(self) -> int:
        """How many documents can be found."""
        return len(self.words)

    def build(self, documents: Documents, ids: Sequence[Any] | None = None, *, attributes: pl.DataFrame | None = None) -> Self:
        """Index these documents, and only these; `attributes` has one row per document, for filters."""
        self.encoded = self._encode(documents)
        self.words.build(documents, ids)
        self.vectors.build(self.encoded, ids, attributes=attributes, space=self.space)
        return self

    def restore(self, encoded: np.ndarray, ids: Sequence[Any], attributes: pl.DataFrame | None, space: str) -> Self:
        """Build from vectors that were encoded before, beside words that are built already; `space` is the encoder's fingerprint then.

        Raises `SpaceMismatch` when the encoder has become another one.
        """
        self.encoded = encoded
        self.vectors.build(encoded, ids, attributes=attributes, space=space)
        self.vectors._check_space(self.space)
        return self

    @property
    def space(self) -> str:
        """The encoder's fingerprint."""
        return self._encoder.fingerprint

    def add(self, documents: Documents, ids: Sequence[Any] | None = None, attributes: pl.DataFrame | None = None) -> None:
        """More documents, at once findable; an id that is there already is a `DuplicateRows`, and changes neither side."""
        # What words refuse is refused before vectors have it: both sides always count the same rows.
        self.words._texts(documents)
        self.vectors.add(self._encode(documents), ids, attributes, space=self.space)
        self.words.add(documents, ids)

    def remove(self, ids: Sequence[Any]) -> int:
        """Take documents out by id; unknown ids are left alone. Returns how many went."""
        self.words.remove(ids)
        return self.vectors.remove(ids)

    def lists(
        self, queries: Sequence[str], k: int, *, where: Filter | str | None = None, allowed: Allowed | None = None
    ) -> tuple[Hits, Hits]:  # fmt: skip
        """What words find and what vectors find, before they are fused: k of each at most."""
        asked = checked_queries(queries)
        bits = self.vectors._bits(where, allowed)
        found = self.words.search(asked, k, allowed=bits)
        # A query is somebody's: nothing of it is kept on disk.
        embedded = uncached(self._encoder).encode(asked)
        # A query without content has no direction: vectors find nothing for it.
        blank = ~embedded.any(axis=1)
        embedded[blank, 0] = 1
        near = self.vectors.search(embedded, k, allowed=bits, space=self.space)
        near.indices[blank], near.scores[blank] = -1, -np.inf
        return found, near

    def search(self, queries: Sequence[str], k: int = 10, *, where: Filter | str | None = None, allowed: Allowed | None = None) -> Hits:
        """The k best documents for each query among those that the filter and `allowed` both leave; fewer are -1."""
        k = checked_k(k, len(queries), self.size)
        found, near = self.lists(queries, max(k, DEEP), where=where, allowed=allowed)
        pool = Pool.of([found, near])
        fused = reciprocal_rank(pool, self.weights) if self.fusion == "reciprocal-rank" else weighted(pool, self.weights)
        indices, scores = pool.best(fused, k)
        return Hits(indices, scores, self.vectors.ids, f"{self.fusion} of {max(k, DEEP)} by words ({found.plan}) and by vectors ({near.plan})")

    def save(self, folder: str | Path) -> Path:
        """Write both sides into a folder; each file is replaced whole or not at all, and `load` refuses sides of different builds."""
        folder = Path(folder)
        self.vectors.save(folder / VECTORS)
        facts = {
            "k1": self.words.k1, "b": self.words.b, "fields": None if self.words.fields == {FLAT: 1.0} else self.words.fields,
            "encoder": self.encoder, "fusion": self.fusion, "weights": list(self.weights),
            "numbering": self.vectors.numbering, "version": self.vectors.version,
        }  # fmt: skip
        _storage.write_atomically(folder / WORDS, _storage.to_bytes(self.words.arrays(), facts))
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> HybridIndex:
        """The reverse of `save`; raises `FileProblem`, `CorruptFile`, `SpaceMismatch`."""
        folder = Path(folder)
        if not (folder / WORDS).is_file():
            raise FileProblem("there is no saved index here", fix="give the folder that save() wrote", file=folder)
        needs = ("k1", "b", "fields", "encoder", "fusion", "weights", "numbering", "version")
        arrays, facts = _storage.from_bytes((folder / WORDS).read_bytes(), needs=needs)
        vectors = ItemIndex.load(folder / VECTORS)
        if (vectors.numbering, vectors.version) != (facts["numbering"], facts["version"]):
            raise CorruptFile("words and vectors are not of the same build", fix="build and save it again", file=folder)
        words = BM25(k1=facts["k1"], b=facts["b"], fields=facts["fields"]).from_arrays(arrays, vectors.ids)
        one, two = facts["weights"]
        made = cls(words=words, vectors=vectors, encoder=facts["encoder"], fusion=facts["fusion"], weights=(one, two))
        vectors._check_space(made.space)
        return made

    def _encode(self, documents: Documents) -> np.ndarray:
        vectors = self._encoder.encode(joined(documents))
        blank = ~vectors.any(axis=1)
        if blank.size and blank.all():
            raise BadValue("no document has any content to be encoded", fix="give texts with words")
        if blank.any():
            vectors[blank] = vectors[~blank].mean(axis=0)
        return vectors


def joined(documents: Documents) -> list[str]:
    """One text per document, whatever form they come in."""
    if isinstance(documents, pl.DataFrame):
        return item_texts(documents, documents.columns)
    return joined(pl.DataFrame(dict(documents))) if hasattr(documents, "keys") else ["" if one is None else one for one in documents]
