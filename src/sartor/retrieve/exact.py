"""Exact search: blocks of one matrix product each, and the best of every block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numba
import numpy as np

from sartor.errors import ConfigError
from sartor.method import learned
from sartor.parts.threads import even, over_rows, threads
from sartor.parts.topk import LONG, top_k
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.rows import Rows

if TYPE_CHECKING:
    from sartor.retrieve.screen import Screen

BLOCK, TOGETHER = 4096, 256
"""Rows of a block, and queries of one product: their scores stay in the cache."""
FEW = 4
"""Queries below which a product is not worth the copy that it needs."""
RARE = 4
"""Where fewer than one in so many rows are allowed, comparing those takes less than screening all."""


def exact(
    queries: np.ndarray, vectors: np.ndarray, biases: np.ndarray | None, k: int, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest inner products (plus biases) of every query with the vectors, or with those of some rows.

    Parameters
    ----------
    queries: float32 [q, dim].
    vectors: float32 or float16 [n, dim].
    biases: float32 [n], or None.
    k: at most as many as there are rows to choose from.
    rows: int32, which vectors; None for all.

    Returns
    -------
    rows int32 [q, k] and scores float32 [q, k], best first.
    """
    count = len(vectors) if rows is None else rows.size
    if len(queries) < FEW and k <= LONG and vectors.dtype == np.float32:
        numbers = np.arange(count, dtype=np.int32) if rows is None else rows
        found, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
        over_rows(_one_by_one, even(np.ones(len(queries)), threads()), queries, vectors, _biases(biases), numbers, found, scores)
        return found, scores
    parts = [_product(queries[first : first + TOGETHER], vectors, biases, k, rows, count) for first in range(0, len(queries), TOGETHER)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _product(
    queries: np.ndarray, vectors: np.ndarray, biases: np.ndarray | None, k: int, rows: np.ndarray | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    best, top = np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), np.float32)
    for first in range(0, count, BLOCK):
        block: slice | np.ndarray = slice(first, min(first + BLOCK, count)) if rows is None else rows[first : first + BLOCK]
        scores = queries @ vectors[block].astype(np.float32, copy=False).T
        if biases is not None:
            scores += biases[block]
        places, found = top_k(scores, k)
        numbers = (places + first).astype(np.int32) if rows is None else rows[first + places]
        best, top = np.concatenate([best, numbers], 1), np.concatenate([top, found], 1)
        if top.shape[1] > k:
            order = np.argsort(-top, axis=1, kind="stable")[:, :k]
            best, top = np.take_along_axis(best, order, 1), np.take_along_axis(top, order, 1)
    return best, top


def _biases(biases: np.ndarray | None) -> np.ndarray:
    return np.empty(0, np.float32) if biases is None else biases


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for at in range(a.size):
        total += a[at] * b[at]
    return total


@numba.njit(cache=True, nogil=True)
def offer(row, score, filled, found, scores):  # type: ignore[no-untyped-def]
    """Put one row into a sorted list of the best, which it is known to belong to; returns how many there are."""
    k = found.size
    place = filled if filled < k else k - 1
    while place > 0 and score > scores[place - 1]:
        scores[place], found[place] = scores[place - 1], found[place - 1]
        place -= 1
    scores[place], found[place] = score, row
    return min(filled + 1, k)


@numba.njit(cache=True, nogil=True)
def _one_by_one(start, stop, queries, vectors, biases, numbers, found, scores):  # type: ignore[no-untyped-def]
    k = found.shape[1]
    for query in range(start, stop):
        filled = 0
        for number in numbers:
            score = dot(queries[query], vectors[number])
            if biases.size:
                score += biases[number]
            if filled < k or score > scores[query, k - 1]:
                filled = offer(number, score, filled, found[query], scores[query])


@dataclass(kw_only=True, eq=False)
class ExactIndex(ItemIndex):
    """Every allowed vector is compared: recall 1 by definition. Good up to some hundred thousand, and always over few allowed ones."""

    kind: ClassVar[str] = "exact"
    storage: Literal["float32", "float16"] = "float32"
    """float16 takes half the memory and rounds every coordinate to 11 bits."""
    screen: bool = False
    """Keep codes of 8 bits beside the vectors, and look at these first: the same answers as comparing one by one, up to the order of rounding errors
    where many queries are compared at once; for a quarter more memory."""

    _vectors: Rows = learned()
    _added: Rows | None = learned(None)
    _screen: Screen | None = learned(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.storage not in ("float32", "float16"):
            raise ConfigError(f"there is no storage '{self.storage}'", fix="use float32 or float16")
        if self.screen and self.storage != "float32":
            raise ConfigError("a screen is of vectors of float32", fix="use storage='float32', or no screen")

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays().values())

    def _build(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        self._restore({"vectors": self._stored(vectors)} | ({} if biases is None else {"biases": biases}))
        if self.screen:
            from sartor.retrieve.screen import Screen

            self._screen = Screen.of(self._vectors.array)

    def _add(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        self._vectors.append(self._stored(vectors))
        if self._added is not None and biases is not None:
            self._added.append(biases)
        if self._screen is not None:
            self._screen.extend(self._vectors.array)

    def erase(self, ids: Sequence[Any]) -> int:
        """Like `remove`, and nothing of them is left in memory: their rows are overwritten, and their ids."""
        self._check_built()
        gone = np.array(sorted({self._row[name] for name in self._coerced(ids) if name in self._row}), np.int64)
        self.remove(ids)
        if gone.size:
            self._vectors.own()[gone] = 0
            if self._added is not None:
                self._added.own()[gone] = 0
            if self._screen is not None:
                self._screen.erase(gone)
            names, blank = list(self._ids), 0 if self._id_type.is_integer() else ""
            for row in gone.tolist():
                names[row] = blank
            self._ids = names
        return int(gone.size)

    def _stored(self, vectors: np.ndarray) -> np.ndarray:
        if self.storage == "float16" and np.abs(vectors).max() > np.finfo(np.float16).max:
            raise ConfigError("a coordinate is beyond what float16 can hold (65,504)", fix="use storage='float32', or scale the vectors")
        return vectors.astype(self.storage, copy=False)

    def _search(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, budget: float | None) -> tuple[np.ndarray, np.ndarray, str]:
        vectors, biases = self._vectors.array, None if self._added is None else self._added.array
        if self._screen is not None and k <= LONG and RARE * count >= self.rows:
            mask = None if allowed is None else allowed.mask()
            return *self._screen.search(queries, vectors, biases, k, mask), f"exact over {count} items, screened by codes of 8 bits"
        return *exact(queries, vectors, biases, k, None if allowed is None else allowed.rows()), f"exact over {count} items"

    def _arrays(self) -> dict[str, np.ndarray]:
        own = {} if self._screen is None else self._screen.arrays()
        return {"vectors": self._vectors.array, **own} | ({} if self._added is None else {"biases": self._added.array})

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._vectors, self._added = Rows(arrays["vectors"]), Rows(arrays["biases"]) if "biases" in arrays else None
        if self.screen and "codes" in arrays:
            from sartor.retrieve.screen import Screen

            self._screen = Screen.restored(arrays)
