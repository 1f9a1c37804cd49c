"""Binary codes: one bit per direction, compared by counting those that differ; the nearest are compared again as vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numba
import numpy as np

from sartor.errors import ConfigError
from sartor.method import learned
from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.exact import dot, offer
from sartor.retrieve.index import ItemIndex
from sartor.retrieve.rows import Rows

SAMPLE = 20_000
"""Vectors that the rotation is learned from."""


@dataclass(kw_only=True, eq=False)
class BinaryIndex(ItemIndex):
    """Every allowed row's code is compared, 32 times less memory than its vector; then the nearest codes' vectors are.

    For many items where memory is short: codes are read for every query, vectors (float16, in the file with `mmap`) for a few rows only.
    Codes know directions, so it suits cosine, and l2 of centred vectors; for inner products with vectors of very different lengths take
    another kind. Hamming distances are exact; what is approximate is that only the nearest codes are compared again.

    Source: sign of random projections, Charikar, STOC 2002; iterative quantization (itq), Gong and Lazebnik, CVPR 2011.
    """

    kind: ClassVar[str] = "binary"
    bits: int | None = None
    """Per code; None means as many as dimensions. With itq at most as many, with random any number; rounded up to 64 in memory."""
    rotation: Literal["itq", "random"] = "itq"
    """itq turns the leading principal directions so that signs lose least; random projects on random directions and learns nothing."""
    oversample: int = 20
    """For k results the vectors of so many times k codes are compared, at least 100."""
    rounds: int = 30
    """Of itq."""
    seed: int = 0

    centre_: np.ndarray = learned()
    """float32 [dim]."""
    directions_: np.ndarray = learned()
    """float32 [dim, bits]."""
    _codes: Rows = learned()
    _vectors: Rows = learned()
    _added: Rows | None = learned(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rotation not in ("itq", "random"):
            raise ConfigError(f"there is no rotation '{self.rotation}'", fix="use itq or random")
        if (self.bits is not None and self.bits < 1) or self.oversample < 1 or self.rounds < 0:
            raise ConfigError(f"bits {self.bits}, oversample {self.oversample}, rounds {self.rounds}", fix="use at least 1, and rounds from 0")

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays().values())

    @property
    def code_bytes(self) -> int:
        """Bytes of the codes, which every search reads."""
        return self._codes.array.nbytes

    def _build(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        bits = self.bits or vectors.shape[1]
        if self.rotation == "itq" and bits > vectors.shape[1]:
            raise ConfigError(f"{bits} bits of {vectors.shape[1]} dimensions", fix="use no more with itq, or rotation='random'")
        if np.abs(vectors).max() > np.finfo(np.float16).max:
            raise ConfigError("a coordinate is beyond what float16 can hold (65,504)", fix="scale the vectors")
        rng = np.random.default_rng(self.seed)
        sample = vectors[np.sort(rng.permutation(len(vectors))[:SAMPLE])]
        self.centre_ = sample.mean(0)
        self.directions_ = itq(sample - self.centre_, bits, rounds=self.rounds, rng=rng) if self.rotation == "itq" else _random(vectors, bits, rng)
        self._codes, self._vectors = Rows(self.codes(vectors)), Rows(vectors.astype(np.float16))
        self._added = None if biases is None else Rows(biases)

    def _add(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        self._codes.append(self.codes(vectors))
        self._vectors.append(vectors.astype(np.float16))
        if self._added is not None and biases is not None:
            self._added.append(biases)

    def codes(self, vectors: np.ndarray) -> np.ndarray:
        """uint64 [n, words]: the signs of the projections, lowest bit first, zeros behind them."""
        signs = (vectors - self.centre_) @ self.directions_ > 0
        packed = np.zeros((len(vectors), -(-signs.shape[1] // 64) * 8), np.uint8)
        packed[:, : -(-signs.shape[1] // 8)] = np.packbits(signs, axis=1, bitorder="little")
        return packed.view(np.uint64)

    def _search(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, budget: float | None) -> tuple[np.ndarray, np.ndarray, str]:
        looked = min(count, max(k, self.oversample * k, 100) if budget is None else max(k, int(np.ceil(budget * count))))
        rows = np.arange(self.rows, dtype=np.int32) if allowed is None else allowed.rows()
        near = nearest_codes(self.codes(queries), self._codes.array, looked, rows)[0]
        found, scores = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32)
        used, places = np.unique(near, return_inverse=True)
        # Only what is compared is read and widened.
        vectors = self._vectors.array[used].astype(np.float32)
        biases = np.empty(0, np.float32) if self._added is None else self._added.array[used]
        over_rows(_rescore, even(np.ones(len(queries)), threads()), queries, vectors, biases, used, places.reshape(near.shape), found, scores)
        return found, scores, f"binary codes of {count} items, {looked} compared as vectors"

    def _arrays(self) -> dict[str, np.ndarray]:
        own = {"codes": self._codes.array, "vectors": self._vectors.array, "centre": self.centre_, "directions": self.directions_}
        return own | ({} if self._added is None else {"biases": self._added.array})

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._codes, self._vectors, self.centre_, self.directions_ = (
            Rows(arrays["codes"]), Rows(arrays["vectors"]), arrays["centre"], arrays["directions"],
        )  # fmt: skip
        self._added = Rows(arrays["biases"]) if "biases" in arrays else None


def itq(centred: np.ndarray, bits: int, *, rounds: int = 30, rng: np.random.Generator) -> np.ndarray:
    """Directions float32 [dim, bits] whose signs keep most: principal ones, rotated to lose least when each number becomes +1 or -1."""
    _, _, principal = np.linalg.svd(centred.T.astype(np.float64) @ centred)
    projected = centred @ principal[:bits].T
    turn = np.linalg.qr(rng.standard_normal((bits, bits)))[0]
    for _ in range(rounds):
        left, _, right = np.linalg.svd(np.where(projected @ turn > 0, 1.0, -1.0).T @ projected)
        turn = (left @ right).T
    return np.ascontiguousarray(principal[:bits].T @ turn, np.float32)


def _random(vectors: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((vectors.shape[1], bits)).astype(np.float32)


def nearest_codes(queries: np.ndarray, codes: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The k rows with the fewest bits that differ from each query's, nearest first; of equal ones those that come first.

    Parameters
    ----------
    queries, codes: uint64 [q, words], [n, words].
    rows: int32, which rows to choose from, at least k; None for all.

    Returns
    -------
    rows int32 [q, k] and how many bits differ, int32 [q, k].
    """
    among = np.arange(len(codes), dtype=np.int32) if rows is None else rows
    found, distances = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int32)
    over_rows(_nearest, even(np.ones(len(queries)), threads()), queries, codes, among, found, distances)
    return found, distances


@numba.njit(cache=True, nogil=True)
def _nearest(start, stop, queries, codes, among, found, distances):  # type: ignore[no-untyped-def]
    words, k = codes.shape[1], found.shape[1]
    far = np.empty(among.size, np.int32)
    counts = np.empty(64 * words + 2, np.int64)
    for query in range(start, stop):
        counts[:] = 0
        for at in range(among.size):
            differ = 0
            for word in range(words):
                differ += _ones(queries[query, word] ^ codes[among[at], word])
            far[at] = differ
            counts[differ + 1] += 1
        # A counting sort: where the rows of each distance begin.
        for distance in range(1, counts.size):
            counts[distance] += counts[distance - 1]
        for at in range(among.size):
            place = counts[far[at]]
            counts[far[at]] += 1
            if place < k:
                found[query, place], distances[query, place] = among[at], far[at]


@numba.njit(cache=True, nogil=True, inline="always")
def _ones(word):  # type: ignore[no-untyped-def]
    """How many bits are set, by adding neighbours; compilers know this form."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int32((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True)
def _rescore(start, stop, queries, vectors, biases, numbers, places, found, scores):  # type: ignore[no-untyped-def]
    for query in range(start, stop):
        filled, k = 0, found.shape[1]
        for place in places[query]:
            score = dot(queries[query], vectors[place])
            if biases.size:
                score += biases[place]
            if filled < k or score > scores[query, k - 1]:
                filled = offer(numbers[place], score, filled, found[query], scores[query])
