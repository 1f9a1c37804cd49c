"""Random numbers by address: the n-th number of a purpose is the same whatever else is drawn.

This is what makes person 17 of seed 3 the same person in a world of a thousand and of a million, whichever chunk she is made in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_SHIFTS = tuple(np.uint64(bits) for bits in (30, 27, 31, 11))

SLOTS = 1 << 24
"""Numbers that one person has for one purpose."""


def address(people: np.ndarray, slots: np.ndarray | int = 0) -> np.ndarray:
    """Where a person's numbers are: uint64, broadcast over person numbers (below 2**40) and slots (below `SLOTS`)."""
    return people.astype(np.uint64) * np.uint64(SLOTS) + np.asarray(slots).astype(np.uint64)


@dataclass(frozen=True)
class Draws:
    """Uniform random numbers of one seed, by purpose and address.

    Counter based: the splitmix64 sequence (Steele, Lea and Flood, OOPSLA 2014), started at a hash of seed and purpose, read at any place.
    """

    seed: int

    def uniform(self, purpose: str, where: np.ndarray) -> np.ndarray:
        """Float64 in [0, 1), one for each address."""
        z = where * _GAMMA
        z += self._start(purpose)
        z ^= z >> _SHIFTS[0]
        z *= _MIX_A
        z ^= z >> _SHIFTS[1]
        z *= _MIX_B
        z ^= z >> _SHIFTS[2]
        z >>= _SHIFTS[3]
        return z * 2.0**-53

    def exponential(self, purpose: str, where: np.ndarray) -> np.ndarray:
        """Float64, positive, mean 1."""
        return -np.log1p(-self.uniform(purpose, where))

    def generator(self, purpose: str) -> np.random.Generator:
        """An ordinary generator, for what there is a fixed number of (topics, items)."""
        return np.random.default_rng([self.seed, int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")])

    def _start(self, purpose: str) -> np.ndarray:
        digest = hashlib.blake2b(f"{self.seed}:{purpose}".encode(), digest_size=8).digest()
        return np.frombuffer(digest, np.uint64)


def pick(cumulative: np.ndarray, rows: np.ndarray | int, uniform: np.ndarray) -> np.ndarray:
    """One column per number, from the given row's distribution: int64.

    `cumulative` is float64 [rows, columns], running sums that end at 1 in every row.
    """
    columns = cumulative.shape[1]
    flat = (cumulative + np.arange(cumulative.shape[0])[:, None]).ravel()
    return np.minimum(np.searchsorted(flat, rows + uniform, side="right") - np.asarray(rows) * columns, columns - 1)


def running_sums(weights: np.ndarray) -> np.ndarray:
    """Running sums along the last axis, normalised so that every row ends at exactly 1."""
    sums = np.cumsum(weights, axis=-1, dtype=np.float64)
    return sums / sums[..., -1:]
