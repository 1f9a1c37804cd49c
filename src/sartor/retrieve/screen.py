"""Exact search that reads a quarter of the bytes: 8-bit codes say of most vectors that they cannot be among the best; the few others are compared.

    screen = Screen.of(vectors)
    rows, scores = screen.search(queries, vectors, None, 10)       # what comparing every vector gives

Of each vector is known how far its code is from it, so a product with the code bounds the product with the vector. Codes lie in blocks, direction
by direction, so that one instruction multiplies many of them; vectors behind the last whole block are compared as they are.

Source: the vector-approximation file, Weber, Schek and Blott, VLDB 1998, with codes of Aguerrebere et al., VLDB 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np

from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve.codes import decode, encode
from sartor.retrieve.exact import dot, offer
from sartor.retrieve.rows import Rows

BLOCK, AT_ONCE, LANES = 256, 4, 16
"""Vectors of a block, directions multiplied before sums are written back, and vectors looked at together for one that may be good enough."""
ROUNDING = np.float32(2.4e-7)
"""Twice the largest relative error of one operation of float32, with room for the bound itself to be rounded."""
UNDER = 4 * np.finfo(np.float32).tiny
"""What one operation may lose of numbers so small that float32 rounds them to 0."""


@dataclass
class Screen:
    """Codes of the leading vectors of an index."""

    _codes: Rows
    """int8 [blocks, directions, 256]."""
    _facts: Rows
    """float32 [blocks, 3, 256]: step, offset, and how far a product with a query of length 1 may be from that with the vector."""

    @staticmethod
    def of(vectors: np.ndarray) -> Screen:
        """Of float32 [n, dim]."""
        width = -(-vectors.shape[1] // AT_ONCE) * AT_ONCE
        made = Screen(Rows(np.empty((0, width, BLOCK), np.int8)), Rows(np.empty((0, 3, BLOCK), np.float32)))
        made.extend(vectors)
        return made

    def extend(self, vectors: np.ndarray) -> None:
        """Cover the whole blocks of all vectors [n, dim] there are now; those that were covered are as they were."""
        first, last = len(self._codes.array) * BLOCK, len(vectors) // BLOCK * BLOCK
        if last == first:
            return
        width = self._codes.array.shape[1]
        codes, facts = np.zeros((last - first, width), np.int8), np.empty((last - first, 3), np.float32)
        for at in range(first, last, 16 * BLOCK):
            part = vectors[at : min(at + 16 * BLOCK, last)]
            here = slice(at - first, at - first + len(part))
            codes[here, : part.shape[1]], facts[here, :2] = coded = encode(part)
            facts[here, 2] = _error(part, *coded)
        self._codes.append(np.ascontiguousarray(codes.reshape(-1, BLOCK, width).transpose(0, 2, 1)))
        self._facts.append(np.ascontiguousarray(facts.reshape(-1, BLOCK, 3).transpose(0, 2, 1)))

    def search(
        self, queries: np.ndarray, vectors: np.ndarray, biases: np.ndarray | None, k: int, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k largest inner products (plus biases) of every query, among the vectors of `mask` (bool [n]; at least k): rows int32 [q, k] and
        scores float32 [q, k], best first, of equal ones the first row first."""
        width = self._codes.array.shape[1]
        wide = np.zeros((len(queries), width), np.float32)
        wide[:, : queries.shape[1]] = queries
        # Squares of numbers below 1e-19 are 0 in float32, and a length of 0 would bound nothing.
        lengths = (_lengths(queries) * (1 + ROUNDING)).astype(np.float32)
        found, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
        added = np.empty(0, np.float32) if biases is None else biases
        left = np.empty(0, np.bool_) if mask is None else mask
        over_rows(
            _search, even(np.ones(len(queries)), threads()), queries, wide, lengths, self._codes.array, self._facts.array, vectors, added, left,
            found, scores,
        )  # fmt: skip
        return found, scores

    def erase(self, rows: np.ndarray) -> None:
        """Overwrite what is known of these vectors, which are zero from now on."""
        block, place = np.divmod(rows[rows < len(self._codes.array) * BLOCK], BLOCK)
        self._codes.own()[block, :, place] = 0
        self._facts.own()[block, :, place] = 0

    def arrays(self) -> dict[str, np.ndarray]:
        """To be saved; `restored` takes them back."""
        return {"codes": self._codes.array, "facts": self._facts.array}

    @staticmethod
    def restored(arrays: Mapping[str, np.ndarray]) -> Screen:
        """The reverse of `arrays`."""
        return Screen(Rows(arrays["codes"]), Rows(arrays["facts"]))


def _error(vectors: np.ndarray, codes: np.ndarray, facts: np.ndarray) -> np.ndarray:
    """float32 [n]: of the code, and of adding up `dim` rounded products, once with the code and once with the vector."""
    dim = vectors.shape[1]
    left = _lengths(vectors - decode(codes, facts))
    sizes = facts[:, 0] * _lengths(codes) + np.abs(facts[:, 1]) * np.sqrt(dim) + _lengths(vectors)
    return np.asarray((left * (1 + dim * ROUNDING) + dim * ROUNDING * sizes) * (1 + ROUNDING), np.float32)


def _lengths(rows: np.ndarray) -> np.ndarray:
    """float64 [n]."""
    wide = rows.astype(np.float64)
    return np.sqrt(np.einsum("nd,nd->n", wide, wide))


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _sums(query, codes, block, sums):  # type: ignore[no-untyped-def]
    """Products of one query with the codes of one block."""
    sums[:] = 0
    for at in range(0, query.size, 4):
        one, two, three, four = query[at], query[at + 1], query[at + 2], query[at + 3]
        for row in range(sums.size):
            sums[row] += (
                one * np.float32(codes[block, at, row])
                + two * np.float32(codes[block, at + 1, row])
                + three * np.float32(codes[block, at + 2, row])
                + four * np.float32(codes[block, at + 3, row])
            )


@numba.njit(cache=True, nogil=True)
def _search(start, stop, queries, wide, lengths, codes, facts, vectors, biases, mask, found, scores):  # type: ignore[no-untyped-def]
    covered = len(codes) * BLOCK
    filled, least = np.zeros(stop, np.int64), np.full(stop, -np.inf, np.float32)
    sums = np.empty(BLOCK, np.float32)
    for block in range(len(codes)):
        for query in range(start, stop):
            _sums(wide[query], codes, block, sums)
            total, length, under = wide[query].sum(), lengths[query], np.float32(4 * wide.shape[1] * UNDER)
            for row in range(BLOCK):
                sums[row] = facts[block, 0, row] * sums[row] + facts[block, 1, row] * total + facts[block, 2, row] * length + under
            if biases.size:
                for row in range(BLOCK):
                    bias = biases[block * BLOCK + row]
                    sums[row] += bias + 4 * ROUNDING * abs(bias)
            for first in range(0, BLOCK, LANES):
                # Counting those that are good enough needs no branches; mostly there is none.
                good = 0
                for row in range(first, first + LANES):
                    good += sums[row] >= least[query]
                if good:
                    for row in range(first, first + LANES):
                        if sums[row] >= least[query]:
                            filled[query], least[query] = _compared(
                                block * BLOCK + row, queries[query], vectors, biases, mask, filled[query], least[query], found[query], scores[query]
                            )
    for query in range(start, stop):
        for row in range(covered, len(vectors)):
            filled[query], least[query] = _compared(
                row, queries[query], vectors, biases, mask, filled[query], least[query], found[query], scores[query]
            )


@numba.njit(cache=True, nogil=True)
def _compared(row, query, vectors, biases, mask, filled, least, found, scores):  # type: ignore[no-untyped-def]
    """Compare one vector as it is; returns how many are found, and the least score that still gets in."""
    if mask.size and not mask[row]:
        return filled, least
    score = dot(query, vectors[row])
    if biases.size:
        score += biases[row]
    if filled < found.size or score > least:
        filled = offer(row, score, filled, found, scores)
        if filled == found.size:
            least = scores[filled - 1]
    return filled, least
