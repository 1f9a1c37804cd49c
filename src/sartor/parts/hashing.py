"""Stable hashes of values: the same in every process, on every machine, in every version of what lies underneath.

Python's own `hash()` is salted per process, and data frame libraries change theirs between releases; neither may decide which row of a
saved table a value has.
"""

from __future__ import annotations

import numba
import numpy as np
import polars as pl

MISSING = 0
"""The key of a missing value; no value ever has it."""

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15
FIRST, SECOND = 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB


def keys(values: pl.Series) -> np.ndarray:
    """uint64 [n], a 64-bit key per value: FNV-1a over its UTF-8 text, mixed; integers as their decimal text; `MISSING` for null.

    With 64 bits two of a million different values share a key with probability 3e-8.
    """
    text = values.cast(pl.String).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if not len(text):
        return np.empty(0, np.uint64)
    _, ends, data = text.buffers()
    offsets = np.frombuffer(ends, np.int64)[text.offset : text.offset + len(text) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    out = mix(_fnv1a(raw, offsets))
    out[out == MISSING] = 1
    out[values.is_null().to_numpy()] = MISSING
    return out


@numba.njit(cache=True, nogil=True)
def _fnv1a(data, offsets):  # type: ignore[no-untyped-def]
    out = np.empty(offsets.size - 1, np.uint64)
    prime = np.uint64(0x100000001B3)
    for row in range(out.size):
        value = np.uint64(0xCBF29CE484222325)
        for at in range(offsets[row], offsets[row + 1]):
            value = (value ^ np.uint64(data[at])) * prime
        out[row] = value
    return out


def mix(numbers: np.ndarray, salt: int = 0) -> np.ndarray:
    """uint64, the same shape: splitmix64 of each number, another function for every salt."""
    x = numbers.astype(np.uint64) + np.uint64(offset(salt))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(SECOND)
    return x ^ (x >> np.uint64(31))


def rows(numbers: np.ndarray, size: int, salt: int = 0) -> np.ndarray:
    """int64, the same shape: the row in 0..size-1 that each key has under a salt."""
    return ((mix(numbers, salt) >> np.uint64(1)) % np.uint64(size)).astype(np.int64)


def offset(salt: int) -> int:
    """A salt spread over 64 bits, so that neighbouring salts share nothing."""
    x = ((salt + 1) * _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * FIRST) & _MASK
    return ((x ^ (x >> 27)) * SECOND) & _MASK
