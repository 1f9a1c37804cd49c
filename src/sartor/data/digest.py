"""Which events a population holds, as 24 bytes: so that a fitted model can say what it was fitted on without keeping any of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sartor.data.ids import IdMap
    from sartor.data.interactions import Interactions

_STEP = 1 << 18
"""Rows, and ids, hashed at once."""


@dataclass(frozen=True)
class Digest:
    """How many (person, item) events there are, and the sum of their 128-bit hashes: equal for equal events in whatever order.

    Digests of disjoint parts add up to the digest of the whole. Times and values do not count, and an id counts as its text (7 is "7").
    Nothing can be read back out of it. It is no secret either: whoever holds all events but one can try which one completes it.
    """

    events: int = 0
    sums: tuple[int, int] = (0, 0)

    def __add__(self, other: Digest) -> Digest:
        return Digest(self.events + other.events, ((self.sums[0] + other.sums[0]) % 2**64, (self.sums[1] + other.sums[1]) % 2**64))

    def __str__(self) -> str:
        return f"{self.events}-{self.sums[0]:016x}{self.sums[1]:016x}"

    @classmethod
    def of(cls, data: Interactions) -> Digest:
        """Of all events."""
        own, theirs = _id_hashes(data.people), _id_hashes(data.items)
        total = np.zeros(2, np.uint64)
        for start in range(0, len(data), _STEP):
            places = np.arange(start, min(start + _STEP, len(data)))
            people = np.searchsorted(data.indptr, places, side="right") - 1
            # Multiplied before they are mixed, so that who did what does not come out as what did who.
            mixed = _mix(own[people] * np.uint64(0xD1342543DE82EF95) + theirs[data.indices[places]])
            total += mixed.sum(0, dtype=np.uint64)
        return cls(len(data), (int(total[0]), int(total[1])))


def _id_hashes(ids: IdMap) -> np.ndarray:
    """uint64 [ids, 2], by the text of each id."""
    out = np.empty((len(ids), 2), np.uint64)
    for start in range(0, len(ids), _STEP):
        texts = [str(one).encode() for one in ids.ids.slice(start, _STEP)]
        joined = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
        out[start : start + len(texts)] = np.frombuffer(joined, "<u8").reshape(-1, 2)
    return out


def _mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: without it sums of hashes would only say how often each id occurs."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
