"""MUVERA's fixed dimensional encoding: a set of vectors as one vector, whose inner products follow MaxSim."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numba
import numpy as np

from sartor.errors import BadValue, ConfigError, TooLarge
from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve.multi_vector import MultiVectors

TOGETHER = 32_768
"""Vectors whose sketches are held at once."""


@dataclass(frozen=True, kw_only=True)
class FixedEncoding:
    """Sets of vectors as single vectors: <sums(q), averages(d)> ~ sum over the vectors of q of the largest inner product with one of d.

    Each repetition cuts space into 2^bits parts by random hyperplanes and writes, part by part, what a set has there: one side the sum
    of its vectors, the other side their average, so that each vector of the first meets the centre of those of the second that lie near
    it. A part in which the averaged side has nothing takes its vector that is the fewest hyperplanes away.

    Both sides must be made by the same encoding; `fingerprint` names it.

    Source: Dhulipala et al., MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings, NeurIPS 2024.
    """

    dim: int
    """Of the vectors."""
    bits: int = 5
    """Hyperplanes per repetition, 0 to 30; 4 to 6 are published."""
    projected: int | None = 16
    """Dimensions each vector is sketched to in its part; None leaves it whole. 8 to 32 are published."""
    repetitions: int = 20
    """20 to 40 are published; the score's noise falls with more."""
    final: int | None = None
    """Dimensions of a last sketch of the whole encoding; None is none."""
    fill_empty: bool = True
    """Whether empty parts of the averaged side are filled."""
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = {"dim": self.dim, "repetitions": self.repetitions, "projected": self.projected, "final": self.final}
        if bad := [name for name, size in sizes.items() if size is not None and size < 1]:
            raise ConfigError(f"{bad[0]} is {sizes[bad[0]]}", fix="use at least 1")
        if not 0 <= self.bits < 31:
            raise ConfigError(f"{self.bits} bits", fix="use 0 to 30; 4 to 6 are usual")

    @property
    def width(self) -> int:
        """Dimensions before the last sketch: repetitions x 2^bits x projected."""
        return self.repetitions * (1 << self.bits) * (self.projected or self.dim)

    @property
    def size(self) -> int:
        """Dimensions of an encoding."""
        return self.final or self.width

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over every parameter: encodings of one fingerprint may be compared."""
        return hashlib.blake2b(f"fde-1:{json.dumps(asdict(self), sort_keys=True)}".encode(), digest_size=16).hexdigest()

    def sums(self, sets: MultiVectors, *, max_bytes: int | None = None) -> np.ndarray:
        """float32 [sets, size]: the side whose vectors MaxSim sums over (queries)."""
        return self._encode(sets, False, max_bytes)

    def averages(self, sets: MultiVectors, *, max_bytes: int | None = None) -> np.ndarray:
        """float32 [sets, size]: the side among whose vectors MaxSim takes the best (documents).

        Raises `TooLarge`, with the bytes it would take, before anything is allocated.
        """
        return self._encode(sets, True, max_bytes)

    def bytes_for(self, sets: int) -> int:
        """Bytes of so many encodings as float32, with what is needed while they are made."""
        held = min(sets * self.width, max(TOGETHER * self.width // 16, self.width)) if self.final else 0
        return 4 * (sets * self.size + held)

    def _encode(self, sets: MultiVectors, averaged: bool, max_bytes: int | None) -> np.ndarray:
        if sets.dim != self.dim:
            raise BadValue(f"the vectors have {sets.dim} dimensions, the encoding {self.dim}", fix="use the encoder that it was made for")
        if max_bytes is not None and (needed := self.bytes_for(len(sets))) > max_bytes:
            raise TooLarge(
                f"{len(sets)} encodings of {self.size:,} dimensions take {needed:,} bytes, {max_bytes:,} are allowed",
                fix="use fewer bits or repetitions, a last sketch (`final`), or a larger max_bytes",
            )
        out = np.zeros((len(sets), self.size), np.float32)
        planes, columns, signs = self._planes
        buckets, flips = self._sketch
        for first, last in self._blocks(sets):
            own = MultiVectors(sets.vectors[sets.offsets[first] : sets.offsets[last]], sets.offsets[first : last + 1] - sets.offsets[first], ())
            vectors = own.vectors.astype(np.float32, copy=False)
            bounds = even(own.lengths + 4, threads())
            above = vectors @ planes > 0
            whole = np.zeros((last - first, self.width), np.float32) if self.final else out[first:last]
            facts = (self.bits, self.repetitions, self.projected or self.dim, averaged, averaged and self.fill_empty)
            over_rows(_place, bounds, vectors, own.offsets, above, columns, signs, *facts, whole)
            if self.final:
                over_rows(_fold, bounds, whole, buckets, flips, out[first:last])
        return out

    def _blocks(self, sets: MultiVectors) -> list[tuple[int, int]]:
        """Ranges of sets that are encoded together."""
        most = max(1, TOGETHER // 16) if self.final else len(sets)
        ends, first, out = sets.offsets, 0, []
        while first < len(sets):
            last = int(np.searchsorted(ends, ends[first] + TOGETHER, side="right")) - 1
            last = min(max(last, first + 1), first + most, len(sets))
            out.append((first, last))
            first = last
        return out

    @cached_property
    def _planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hyperplanes float32 [dim, repetitions x bits], and for each repetition and coordinate its column and sign."""
        columns = np.tile(np.arange(self.dim), (self.repetitions, 1))
        signs = np.ones((self.repetitions, self.dim), np.float32)
        planes = np.empty((self.dim, self.repetitions * self.bits), np.float32)
        for r in range(self.repetitions):
            rng = np.random.default_rng(self.seed + r)
            planes[:, r * self.bits : (r + 1) * self.bits] = rng.standard_normal((self.dim, self.bits))
            if self.projected is not None:
                columns[r] = rng.integers(self.projected, size=self.dim)
                signs[r] = _signs(rng, self.dim)
        return planes, columns, signs

    @cached_property
    def _sketch(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the last sketch: for each coordinate its bucket and sign."""
        rng = np.random.default_rng([self.seed, 1])
        count = self.width if self.final else 0
        return rng.integers(self.final or 1, size=count), _signs(rng, count)


def _signs(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.where(rng.random(count) < 0.5, np.float32(-1), np.float32(1))


@numba.njit(cache=True, nogil=True)
def _place(start, stop, vectors, offsets, above, columns, signs, bits, repetitions, projected, averaged, fill, out):  # type: ignore[no-untyped-def]
    parts = 1 << bits
    sizes = np.empty(parts, np.int32)
    for row in range(start, stop):
        first, last = offsets[row], offsets[row + 1]
        codes = np.empty(last - first, np.int64)
        for r in range(repetitions):
            block = out[row, r * parts * projected : (r + 1) * parts * projected].reshape(parts, projected)
            sizes[:] = 0
            for at in range(first, last):
                code, part = np.int64(0), np.int64(0)
                # The part's number is the binary number whose Gray code the signs are: parts of neighbouring numbers share all but one plane.
                for bit in range(bits):
                    sign = np.int64(above[at, r * bits + bit])
                    code = (code << 1) | sign
                    part = (part << 1) | (sign ^ (part & 1))
                codes[at - first] = code
                sizes[part] += 1
                for d in range(vectors.shape[1]):
                    block[part, columns[r, d]] += signs[r, d] * vectors[at, d]
            if not averaged:
                continue
            for empty in range(parts):
                if sizes[empty] > 1:
                    block[empty] /= np.float32(sizes[empty])
                elif sizes[empty] == 0 and fill:
                    nearest, fewest = first, 64
                    for at in range(last - first):
                        differ = codes[at] ^ (empty ^ (empty >> 1))
                        distance = 0
                        while differ:
                            differ &= differ - 1
                            distance += 1
                        if distance < fewest:
                            nearest, fewest = first + at, distance
                    for d in range(vectors.shape[1]):
                        block[empty, columns[r, d]] += signs[r, d] * vectors[nearest, d]


@numba.njit(cache=True, nogil=True)
def _fold(start, stop, whole, buckets, flips, out):  # type: ignore[no-untyped-def]
    for row in range(start, stop):
        for at in range(buckets.size):
            out[row, buckets[at]] += flips[at] * whole[row, at]
