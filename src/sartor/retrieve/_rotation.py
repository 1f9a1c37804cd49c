"""A random rotation that costs n log n: coordinates are mixed, signs are flipped at random, and blocks of them are turned (Walsh-Hadamard).

It spreads what lies in a few large coordinates over all, so that one step size fits all of a vector's codes.
"""

from __future__ import annotations

import numba
import numpy as np

LEAST = 64
"""Dimensions are padded with zeros to a multiple of this, or to the next power of two below it."""

WIDTH = 16
"""Numbers that a processor adds at once: where there are enough coordinates, those that are mixed lie so far apart."""


class Rotation:
    """Of vectors with `dim` coordinates into `padded` ones; inner products and distances stay as they are."""

    def __init__(self, dim: int, seed: int) -> None:
        self.dim = dim
        self.padded = -(-dim // LEAST) * LEAST if dim > LEAST // 2 else 1 << (dim - 1).bit_length()
        self.block = self.padded & -self.padded
        while self.block > 4 and self.padded // self.block < WIDTH <= self.padded // 4:
            self.block //= 2
        rng = np.random.default_rng(seed)
        self._order = rng.permutation(self.padded).astype(np.int32)
        self._signs = (rng.choice([-1, 1], self.padded) / np.sqrt(self.block)).astype(np.float32)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [n, padded], from float32 [n, dim]."""
        turned = np.empty((len(vectors), self.padded), np.float32)
        _turn(vectors, self._order, self._signs, self.block, turned)
        return turned


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _turn(vectors, order, signs, block, turned):  # type: ignore[no-untyped-def]
    dim = vectors.shape[1]
    for row in range(len(vectors)):
        out = turned[row]
        for at in range(out.size):
            out[at] = vectors[row, order[at]] * signs[at] if order[at] < dim else np.float32(0)
        half = out.size // block
        while half < out.size:
            for first in range(0, out.size, 2 * half):
                for at in range(first, first + half):
                    one, two = out[at], out[at + half]
                    out[at], out[at + half] = one + two, one - two
            half *= 2
