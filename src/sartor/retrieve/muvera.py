"""MUVERA: documents of many vectors, found with an ordinary index of single vectors and put in order by exact MaxSim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from sartor.errors import ConfigError, CorruptFile, NotFitted, SpaceMismatch
from sartor.retrieve import _beside
from sartor.retrieve.fixed_encoding import FixedEncoding
from sartor.retrieve.hits import Hits
from sartor.retrieve.index import Allowed, ItemIndex
from sartor.retrieve.multi_vector import MultiVectors, SumOver, maxsim
from sartor.retrieve.two_stage import two_stage

if TYPE_CHECKING:
    import polars as pl

    from sartor.retrieve.filters import Filter

_FACTS = ("encoding", "kind", "settings", "storage", "sum_over", "max_bytes")


@dataclass(kw_only=True, eq=False)
class MuveraIndex:
    """Candidates by the inner product of fixed dimensional encodings, in any `ItemIndex`; the best of them by exact MaxSim.

        index = MuveraIndex(encoding=FixedEncoding(dim=384)).build(documents)
        hits = index.search(queries, 10, candidates=100)      # exact scores

    For documents of token vectors, where one vector per document loses the words, and for people of several interests over items of one
    vector or more (`sum_over="document"`: an item scores by the best of the person's interests). Few repetitions do worse than one mean
    vector, and so do any with MiniLM's token vectors, which were not trained for late interaction (claims/retrieve/muvera.py).

    Source: Dhulipala et al., MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings, NeurIPS 2024.
    """

    encoding: FixedEncoding
    """Of both sides. Its size times 4 bytes (2 with storage float16) is what a document costs in the first stage."""
    kind: str = "exact"
    """Of the index inside; see `ItemIndex.make`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the index inside, but its metric, which is the inner product."""
    storage: Literal["float32", "float16"] = "float16"
    """Of the documents' own vectors."""
    sum_over: SumOver = "query"
    """Whose vectors MaxSim sums over; the other side is averaged and filled."""
    max_bytes: int = 4 << 30
    """Encodings that would take more are refused before anything is allocated."""

    index_: ItemIndex | None = field(init=False, repr=False, default=None)
    documents_: MultiVectors | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.storage not in ("float32", "float16"):
            raise ConfigError(f"there is no storage '{self.storage}'", fix="use float32 or float16")
        if self.sum_over not in ("query", "document"):
            raise ConfigError(f"there is no way to sum over '{self.sum_over}'", fix="use query or document")

    # --- what there is

    @property
    def index(self) -> ItemIndex:
        """The index of encodings."""
        if self.index_ is None:
            raise NotFitted("the index is not built", fix="call build(documents), or MuveraIndex.load(folder)")
        return self.index_

    @property
    def documents(self) -> MultiVectors:
        """All rows' own vectors, removed ones included."""
        if self.documents_ is None:
            raise NotFitted("the index is not built", fix="call build(documents), or MuveraIndex.load(folder)")
        return self.documents_

    @property
    def size(self) -> int:
        """How many documents can be found."""
        return self.index.size

    @property
    def nbytes(self) -> int:
        """Bytes of encodings and of the documents' own vectors."""
        return self.index.nbytes + self.documents.nbytes

    # --- changes

    def build(self, documents: MultiVectors, *, attributes: pl.DataFrame | None = None, space: str = "") -> Self:
        """Index these documents, and only these; `space` is the fingerprint of the encoder that their vectors come from.

        Raises `TooLarge` before allocating, and what `ItemIndex.build` raises.
        """
        encoded = self._encoded(documents, self.sum_over == "query")
        index = ItemIndex.make(self.kind, **{**self.settings, "metric": "ip"})
        stored = documents.stored(self.storage)
        self.index_ = index.build(encoded, documents.ids, attributes=attributes, space=self._space(space))
        self.documents_ = stored
        return self

    def add(self, documents: MultiVectors, attributes: pl.DataFrame | None = None, *, space: str | None = None) -> None:
        """More documents, at once findable, nothing rebuilt."""
        encoded = self._encoded(documents, self.sum_over == "query")
        stored = documents.stored(self.storage)
        self.index.add(encoded, documents.ids, attributes, space=None if space is None else self._space(space))
        self.documents_ = self.documents.joined(stored)

    def remove(self, ids: Sequence[Any]) -> int:
        """Take documents out by id; returns how many went."""
        return self.index.remove(ids)

    # --- search

    def search(
        self, queries: MultiVectors, k: int = 10, *, candidates: int = 100, where: Filter | str | None = None, allowed: Allowed | None = None,
        budget: float | None = None, encoding: FixedEncoding | None = None, space: str | None = None,
    ) -> Hits:  # fmt: skip
        """The k best documents for each query, with exact MaxSim scores.

        Parameters
        ----------
        queries: of the encoder's vectors, as the documents.
        candidates: how many the index hands to the exact score, at least k.
        where, allowed, budget: as in `ItemIndex.search`.
        encoding: the one that the caller counts on; another seed, or any other parameter, is a `SpaceMismatch`.
        space: fingerprint of the encoder of the queries' vectors.
        """
        if encoding is not None:
            self._check_encoding(encoding)
        made = self._encoded(queries, self.sum_over == "document")
        return two_stage(
            self.index, made, lambda rows: maxsim(queries, self.documents, rows, sum_over=self.sum_over), k, candidates=candidates,
            where=where, allowed=allowed, budget=budget, space=None if space is None else self._space(space),
        )  # fmt: skip

    def _check_encoding(self, other: FixedEncoding) -> None:
        if other.fingerprint != self.encoding.fingerprint:
            raise SpaceMismatch(
                f"the encoding {other.fingerprint[:8]} is not the index's {self.encoding.fingerprint[:8]}: another seed or another parameter",
                fix="use the index's own encoding",
            )

    def _encoded(self, sets: MultiVectors, averaged: bool) -> np.ndarray:
        encode = self.encoding.averages if averaged else self.encoding.sums
        return encode(sets, max_bytes=self.max_bytes)

    def _space(self, space: str) -> str:
        return f"{self.encoding.fingerprint}:{space}"

    # --- files

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder, all or nothing."""
        facts = {name: getattr(self, name) for name in _FACTS} | {"encoding": asdict(self.encoding), "settings": dict(self.settings)}
        arrays = {"vectors": self.documents.vectors, "offsets": self.documents.offsets}
        return _beside.save(self.index, Path(folder), "vectors", arrays, facts)

    @classmethod
    def load(cls, folder: str | Path, *, mmap: bool = True, encoding: FixedEncoding | None = None, space: str | None = None) -> Self:
        """A saved index; raises `SpaceMismatch` when it was made with another encoding or encoder, `CorruptFile`, `FileProblem`."""
        folder = Path(folder)
        inner, arrays, facts = _beside.load(folder, "vectors", _FACTS, mmap=mmap)
        try:
            made = cls(**{**facts, "encoding": FixedEncoding(**facts["encoding"])})
            documents = MultiVectors(arrays["vectors"], arrays["offsets"], inner.ids)
            whole = documents.offsets.size == inner.rows + 1 and documents.offsets[-1] == len(documents.vectors)
        except (KeyError, TypeError, ConfigError) as cause:
            raise CorruptFile("the saved index does not hold what it should", fix="build and save it again", file=folder) from cause
        if not whole or inner.dim != made.encoding.size or not inner.space.startswith(made.encoding.fingerprint):
            raise CorruptFile("encodings and vectors are not of the same documents", fix="build and save it again", file=folder)
        made.index_, made.documents_ = inner, documents
        if encoding is not None:
            made._check_encoding(encoding)
        if space is not None and inner.space != made._space(space):
            raise SpaceMismatch("the index holds vectors of another encoder", fix="encode with the index's own encoder", file=folder)
        return made
