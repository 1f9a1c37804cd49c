"""BM25: documents by the words of a query, from an inverted index that takes new documents and loses old ones without being built again.

    index = BM25(fields={"title": 1.0, "text": 1.0}).build(frame, ids)      # or BM25().build(["one text", "another"])
    hits = index.search(["quiet thriller"], 10)

A document's score is the sum over the query's words t, and over its fields f with weight w_f, of

    w_f * idf(t, f) * c / (c + k1 * (1 - b + b * length / mean length)),   idf(t, f) = log(1 + (n - n_t + 1/2) / (n_t + 1/2))

with c how often the field holds the word, n the documents there are and n_t those whose field holds it. All numbers are those of the
documents that are there now: after any additions and removals scores are, to the bit, those of an index built anew.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, in the form that Lucene computes; k1 and b as in
Thakur et al., BEIR, 2021. One joined text is BEIR's "flat", several fields are its "multi-field".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import polars as pl

from sartor.data.ids import as_ids, id_column
from sartor.errors import BadValue, ConfigError, CorruptFile, DuplicateRows, EmptyData
from sartor.retrieve.bm25_scoring import Scoring
from sartor.retrieve.postings import Segment
from sartor.retrieve.words import FEW, Documents, columns, tokens

FLAT = "text"
"""The one field of documents that are given as single texts."""


class BM25(Scoring):
    """An inverted index of texts.

    Parameters
    ----------
    k1: how slowly a repeated word stops adding; at least 0.
    b: how much long texts are held back, 0 to 1.
    fields: column -> weight, each scored with its own statistics. None joins all columns into one text.
    """

    def __init__(self, *, k1: float = 0.9, b: float = 0.4, fields: Mapping[str, float] | None = None) -> None:
        if not 0 <= k1 < np.inf or not 0 <= b <= 1:
            raise ConfigError(f"k1 is {k1}, b is {b}", fix="use k1 of at least 0 and b from 0 to 1; 0.9 and 0.4 are usual")
        if fields is not None and (not fields or not all(0 < weight < np.inf for weight in fields.values())):
            raise ConfigError(f"fields are {dict(fields)}", fix="give each column a weight above 0, or None")
        self.k1, self.b = float(k1), float(b)
        self.fields = {FLAT: 1.0} if fields is None else {name: float(weight) for name, weight in fields.items()}
        self._joined = fields is None
        self._built = False

    # --- what there is

    def __len__(self) -> int:
        return self._live if self._built else 0

    @property
    def ids(self) -> Sequence[Any]:
        """Ids by row number."""
        self._check_built()
        return self._ids

    @property
    def words(self) -> int:
        """Different words, each counted once per field."""
        return sum(len(own) for own in self._words) if self._built else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the index's arrays; words and ids come on top."""
        return sum(array.nbytes for array in self.arrays().values()) if self._built else 0

    # --- changes

    def build(self, documents: Documents, ids: Sequence[Any] | None = None) -> Self:
        """Index these documents, and only these: texts, or a table with one row per document.

        Raises `EmptyData`, `MissingColumn`, `WrongType`, `DuplicateRows`.
        """
        texts = self._texts(documents)
        given = id_column(range(len(texts[0])) if ids is None else ids)
        if not len(texts[0]):
            raise EmptyData("there are no documents to index", fix="give at least one text")
        self._id_type: pl.DataType = pl.Int64() if given.dtype.is_integer() else pl.String()
        self._words: list[dict[str, int]] = [{} for _ in self.fields]
        self._segments: list[Segment] = []
        self._ids: list[Any] = []
        self._row: dict[Any, int] = {}
        self._found_in = np.zeros(0, np.int64)
        self._lengths = np.zeros((len(self.fields), 0), np.float32)
        self._alive, self._live = np.zeros(0, bool), 0
        self._built = True
        try:
            self._append(texts, given)
        except BaseException:
            self._built = False
            raise
        return self

    def add(self, documents: Documents, ids: Sequence[Any] | None = None) -> None:
        """More documents, at once findable. An id that is there already is a `DuplicateRows`: remove it first."""
        self._check_built()
        texts = self._texts(documents)
        self._append(texts, id_column(range(self.rows, self.rows + len(texts[0])) if ids is None else ids))

    def remove(self, ids: Sequence[Any]) -> int:
        """Take documents out by id; unknown ids are left alone. Returns how many went. Costs one look at every entry of the index."""
        self._check_built()
        gone = [row for name in as_ids(ids, self._id_type).to_list() if (row := self._row.pop(name, None)) is not None]
        if gone:
            dead = np.zeros(self.rows, bool)
            dead[gone] = True
            for one in self._segments:
                words, rows, _ = one.triples()
                self._found_in -= np.bincount(words[dead[rows]], minlength=self._found_in.size)
            self._alive = self._alive & ~dead
            self._live -= len(gone)
            self._weigh()
        return len(gone)

    def _append(self, texts: list[pl.Series], given: pl.Series) -> None:
        names, first = self._names(given, len(texts[0])), self.rows
        parts, lengths = [], []
        for own, column in zip(self._words, texts, strict=True):
            words = tokens(column.to_list() if len(column) <= FEW else column)
            sizes = words.list.len().to_numpy()
            lengths.append(sizes.astype(np.float32))
            flat = words.explode().drop_nulls().to_list()
            # Numbers are shared by all fields.
            total = sum(map(len, self._words))
            own.update({word: total + at for at, word in enumerate(word for word in dict.fromkeys(flat) if word not in own)})
            numbers = np.fromiter(map(own.__getitem__, flat), np.int64, len(flat))
            keys, counts = np.unique(np.repeat(np.arange(len(column)), sizes) * np.int64(total + len(flat) + 1) + numbers, return_counts=True)
            rows, numbers = np.divmod(keys, total + len(flat) + 1)
            parts.append((numbers, rows + first, counts.astype(np.float32)))
        numbers, rows, counts = (np.concatenate([part[at] for part in parts]) for at in range(3))
        total = sum(map(len, self._words))
        self._found_in = np.pad(self._found_in, (0, total - self._found_in.size)) + np.bincount(numbers, minlength=total)
        self._segments.append(Segment.of(numbers, rows, counts))
        self._ids = [*self._ids, *names]
        self._row |= {name: first + at for at, name in enumerate(names)}
        self._lengths = np.concatenate([self._lengths, np.stack(lengths)], axis=1)
        self._alive = np.concatenate([self._alive, np.ones(len(names), bool)])
        self._live += len(names)
        self._merge()
        self._weigh()

    def _merge(self) -> None:
        """Small segments go into one, so that there are never more than a few and each entry is moved only a few times."""
        while len(self._segments) > 1 and self._segments[-2].rows.size < 2 * self._segments[-1].rows.size:
            one, two = self._segments.pop(-2).triples(), self._segments.pop().triples()
            words, rows, counts = (np.concatenate([a, b]) for a, b in zip(one, two, strict=True))
            kept = self._alive[rows]
            self._segments.append(Segment.of(words[kept], rows[kept], counts[kept]))

    def _weigh(self) -> None:
        """k1 * (1 - b + b * length / mean length) of every row, and every word's idf times its field's weight."""
        lengths = self._lengths[:, self._alive]
        # Summed as integers would be: the same in whatever order documents came.
        mean = lengths.sum(axis=1, dtype=np.float64) / max(1, self._live)
        self._norms = (self.k1 * (1 - self.b + self.b * self._lengths / np.maximum(mean, 1e-9)[:, None])).astype(np.float32)
        field = np.zeros(self._found_in.size, np.int64)
        for number, own in enumerate(self._words):
            field[list(own.values())] = number
        weights = np.array(list(self.fields.values()))[field]
        self._field_of = field
        self._impacts: dict[int, np.ndarray] = {}
        self._weights = np.where(self._found_in > 0, weights * np.log1p((self._live - self._found_in + 0.5) / (self._found_in + 0.5)), 0).astype(
            np.float32
        )

    # --- saving

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as plain arrays, in one segment, for whoever saves it; `from_arrays` takes them back."""
        self._check_built()
        words, rows, counts = (np.concatenate([one.triples()[at] for one in self._segments]) for at in range(3))
        kept = self._alive[rows]
        whole = Segment.of(words[kept], rows[kept], counts[kept])
        text = "\n".join(word for own in self._words for word in own).encode()
        return {
            "lists": whole.lists, "starts": whole.starts, "rows": whole.rows, "counts": whole.counts, "lengths": self._lengths, "alive": self._alive,
            "words": np.frombuffer(text, np.uint8), "sizes": np.array([len(own) for own in self._words], np.int64),
            "numbers": np.array([number for own in self._words for number in own.values()], np.int32), "found_in": self._found_in,
        }  # fmt: skip

    def from_arrays(self, arrays: Mapping[str, np.ndarray], ids: Sequence[Any]) -> Self:
        """The reverse of `arrays`, for an index with the same settings. Raises `CorruptFile`."""
        try:
            words, numbers = arrays["words"].tobytes().decode().split("\n"), arrays["numbers"].tolist()
            ends = np.cumsum(arrays["sizes"]).tolist()
            self._words = [dict(zip(words[a:b], numbers[a:b], strict=True)) for a, b in zip([0, *ends], ends, strict=False)]
            self._segments = [Segment(*(arrays[name] for name in ("lists", "starts", "rows", "counts")))]
            self._lengths, self._alive, self._found_in = arrays["lengths"], arrays["alive"], arrays["found_in"]
            given = id_column(ids)
            if self._lengths.shape != (len(self.fields), len(given)) or self._alive.shape != (len(given),) or len(words) < max(ends, default=0):
                raise ValueError("ids, words or lengths are not as many as they should be")
        except (KeyError, ValueError, IndexError) as cause:
            raise CorruptFile("these arrays are not those of a BM25 index with these fields", fix="build it again from the texts") from cause
        self._id_type = pl.Int64() if given.dtype.is_integer() else pl.String()
        self._ids = given.to_list()
        self._row = {name: row for row, (name, there) in enumerate(zip(self._ids, self._alive.tolist(), strict=True)) if there}
        self._live, self._built = int(self._alive.sum()), True
        self._weigh()
        return self

    # --- checks

    def _texts(self, documents: Documents) -> list[pl.Series]:
        return columns(documents, None if self._joined else list(self.fields))

    def _names(self, given: pl.Series, n: int) -> list[Any]:
        names = as_ids(given, self._id_type).to_list()
        if len(names) != n:
            raise BadValue(f"{len(names)} ids for {n} documents", fix="give one id per document")
        if None in names:
            raise BadValue("an id is missing, or is not of the others' kind", fix="give every document an id of one kind", row=names.index(None))
        again = [name for name, times in Counter(names).items() if times > 1 or name in self._row]
        if again:
            raise DuplicateRows(f"{len(again)} ids occur more than once", fix="remove the old document first", id=repr(again[0]))
        return names
