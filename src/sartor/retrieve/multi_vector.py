"""Things that are several vectors each, and how well two of them match: MaxSim.

    documents = MultiVectors.of([tokens_of_a, tokens_of_b], ids=["a", "b"])      # float [m, dim] each, m may differ
    queries = MultiVectors.of([tokens_of_query])
    scores = maxsim(queries, documents)                                          # float32 [1, 2]

Documents of token vectors, queries of token vectors and people of several interests are all the same: `MultiVectors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np

from sartor.data.ids import id_column
from sartor.errors import BadValue, ConfigError, EmptyData, WrongType
from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve.exact import dot

SumOver = Literal["query", "document"]
"""Whose vectors MaxSim sums over: each of them is matched with the best one of the other side."""


@dataclass(frozen=True, eq=False)
class MultiVectors:
    """Some things, each of one vector or more, one after another in one array."""

    vectors: np.ndarray
    """float32 or float16 [total, dim]."""
    offsets: np.ndarray
    """int64 [things + 1]: thing i has the rows `offsets[i]:offsets[i + 1]`."""
    ids: Sequence[Any]
    """One per thing."""

    @classmethod
    def of(cls, each: Sequence[np.ndarray], ids: Sequence[Any] | None = None, *, unit: bool = True) -> MultiVectors:
        """From one array per thing.

        Parameters
        ----------
        each: float [m, dim], m >= 1 may differ; [dim] is one vector.
        ids: names of the things; 0..n-1 when left out.
        unit: scale every vector to length 1, as MaxSim of text models wants it.

        Raises `EmptyData`, `BadValue` (with the thing's id: no vector at all, a vector of length zero or not finite, another dimension), `WrongType`.
        """
        if not len(each):
            raise EmptyData("there is not one thing with vectors", fix="give at least one array")
        names = id_column(range(len(each)) if ids is None else ids).to_list()
        if len(names) != len(each):
            raise BadValue(f"{len(names)} ids for {len(each)} things", fix="give one id per thing")
        made = [np.atleast_2d(np.asarray(own)) for own in each]
        dim = made[0].shape[-1]
        for name, own in zip(names, made, strict=True):
            if own.dtype.kind not in "fiu":
                raise WrongType(f"vectors are of type {own.dtype}", fix="give numbers", id=repr(name))
            if not own.size:
                raise BadValue("this has no vector at all", fix="leave it out", id=repr(name))
            if own.ndim != 2 or own.shape[1] != dim:
                raise BadValue(
                    f"vectors of shape {list(own.shape)}, the first thing has {dim} dimensions", fix="use one encoder for all", id=repr(name)
                )
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in made])]).astype(np.int64)
        return cls.packed(np.concatenate(made), offsets, names, unit=unit)

    @classmethod
    def packed(cls, vectors: np.ndarray, offsets: np.ndarray, ids: Sequence[Any] | None = None, *, unit: bool = True) -> MultiVectors:
        """From one array for all things; see `of`."""
        offsets = np.asarray(offsets, np.int64)
        names = list(range(offsets.size - 1)) if ids is None else list(ids)
        if vectors.ndim != 2 or offsets.size < 2 or offsets[0] or offsets[-1] != len(vectors) or len(names) != offsets.size - 1:
            raise BadValue(
                f"offsets of {offsets.size - 1} things and {len(names)} ids do not cut vectors of shape {list(vectors.shape)}",
                fix="offsets go from 0 to the number of vectors, one more than there are ids",
            )
        if (short := np.flatnonzero(np.diff(offsets) < 1)).size:
            raise BadValue("this has no vector at all", fix="leave it out", id=repr(names[short[0]]))
        made = np.ascontiguousarray(vectors, np.float32)
        lengths = np.sqrt(np.einsum("nd,nd->n", made, made))
        bad = np.flatnonzero(~np.isfinite(lengths) | (lengths < 1e-15))
        if bad.size:
            thing = int(np.searchsorted(offsets, bad[0], side="right")) - 1
            what = "has length 0" if lengths[bad[0]] < 1e-15 else "is not finite"
            raise BadValue(f"its vector {bad[0] - offsets[thing]} {what}", fix="leave the vector out", id=repr(names[thing]))
        return cls(made / lengths[:, None] if unit else made, offsets, names)

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, thing: int) -> np.ndarray:
        """The vectors of one thing."""
        return self.vectors[self.offsets[thing] : self.offsets[thing + 1]]

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def lengths(self) -> np.ndarray:
        """int64 [things], vectors per thing."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes of vectors and offsets."""
        return self.vectors.nbytes + self.offsets.nbytes

    def take(self, things: np.ndarray) -> MultiVectors:
        """Some things, in the given order, copied as float32."""
        lengths = self.lengths[things]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[things] - offsets[:-1], lengths)
        return MultiVectors(self.vectors[rows].astype(np.float32, copy=False), offsets, [self.ids[thing] for thing in things])

    def joined(self, more: MultiVectors) -> MultiVectors:
        """These and then more, in this one's type of numbers."""
        vectors = np.concatenate([self.vectors, more.stored("float16" if self.vectors.dtype == np.float16 else "float32").vectors])
        return MultiVectors(vectors, np.concatenate([self.offsets, more.offsets[1:] + self.offsets[-1]]), [*self.ids, *more.ids])

    def stored(self, kind: Literal["float32", "float16"]) -> MultiVectors:
        """The same in another type of numbers; float16 takes half the memory and rounds every coordinate to 11 bits.

        Raises `BadValue` for a coordinate that float16 cannot hold.
        """
        if kind == "float16" and np.abs(self.vectors).max(initial=0) > np.finfo(np.float16).max:
            raise BadValue("a coordinate is beyond what float16 can hold (65,504)", fix="use float32, or scale the vectors")
        return MultiVectors(self.vectors.astype(kind, copy=False), self.offsets, self.ids)

    def means(self) -> np.ndarray:
        """float32 [things, dim], the mean vector of each: one-vector search over the same things."""
        return (np.add.reduceat(self.vectors.astype(np.float32, copy=False), self.offsets[:-1]) / self.lengths[:, None]).astype(np.float32)


def maxsim(queries: MultiVectors, documents: MultiVectors, candidates: np.ndarray | None = None, *, sum_over: SumOver = "query") -> np.ndarray:
    """Exact late-interaction scores: the sum over one side's vectors of the largest inner product with a vector of the other side.

    Parameters
    ----------
    queries, documents: of the same dimension.
    candidates: int [queries, c], which documents for which query, -1 for none; all documents by default.
    sum_over: "query" asks that every part of the query is met somewhere in the document (text). "document" asks that every vector of the
        document is near one of the query's: for items of one vector, the best of a person's interests.

    Returns
    -------
    float32 [queries, c or documents]; -inf where there is no candidate.

    Source: Khattab and Zaharia, ColBERT, SIGIR 2020.
    """
    if queries.dim != documents.dim:
        raise BadValue(f"a query has {queries.dim} dimensions, a document {documents.dim}", fix="use one encoder for both")
    if sum_over not in ("query", "document"):
        raise ConfigError(f"there is no way to sum over '{sum_over}'", fix="use query or document")
    things = np.broadcast_to(np.arange(len(documents)), (len(queries), len(documents))) if candidates is None else np.atleast_2d(candidates)
    if len(things) != len(queries) or (things.size and not -1 <= things.min() <= things.max() < len(documents)):
        raise BadValue(f"candidates of shape {list(things.shape)} are not documents for {len(queries)} queries", fix="give row numbers, or -1")
    if documents.vectors.dtype != np.float32:
        # Compiled loops know no half precision: what is asked for is widened, and nothing else.
        used, flat = np.unique(things, return_inverse=True)
        gone = int(used.size > 0 and used[0] < 0)
        if used.size == gone:
            return np.full(things.shape, -np.inf, np.float32)
        documents, things = documents.take(used[gone:]), flat.reshape(things.shape) - gone
    out = np.empty(things.size, np.float32)
    where = np.repeat(np.arange(len(queries)), things.shape[1] if things.ndim > 1 else 0)
    flat = np.ascontiguousarray(things, np.int64).reshape(-1)
    costs = queries.lengths[where] * np.where(flat < 0, 0, documents.lengths[flat])
    one, other = (queries, documents) if sum_over == "query" else (documents, queries)
    pairs = (where, flat) if sum_over == "query" else (flat, where)
    over_rows(_maxsim, even(costs + 1, threads()), one.vectors, one.offsets, other.vectors, other.offsets, *pairs, out)
    return out.reshape(things.shape)


@numba.njit(cache=True, nogil=True)
def _maxsim(start, stop, a, a_offsets, b, b_offsets, a_of, b_of, out):  # type: ignore[no-untyped-def]
    for pair in range(start, stop):
        if a_of[pair] < 0 or b_of[pair] < 0:
            out[pair] = -np.inf
            continue
        total = np.float32(0)
        for row in range(a_offsets[a_of[pair]], a_offsets[a_of[pair] + 1]):
            best = np.float32(-np.inf)
            for column in range(b_offsets[b_of[pair]], b_offsets[b_of[pair] + 1]):
                best = max(best, dot(a[row], b[column]))
            total += best
        out[pair] = total
