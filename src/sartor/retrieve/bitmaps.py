"""Sets of rows as packed bits: 12 KB for 100,000 rows, with exact counts."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sartor.errors import BadValue, ConfigError, CorruptFile

_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)
"""How many bits each 16-bit number has."""


@dataclass(frozen=True, eq=False)
class Bitmap:
    """A set of the rows 0..size-1. `&`, `|` and `~` give new ones; `len` is the exact count."""

    words: np.ndarray
    """uint64 [ceil(size / 64)], lowest bit first; bits beyond `size` are 0."""
    size: int

    def __post_init__(self) -> None:
        if self.words.dtype != np.uint64 or self.words.shape != (-(-self.size // 64),):
            raise BadValue(f"{self.words.size} words are no bitmap of {self.size} rows", fix="make it again from the index")
        if self.size % 64 and int(self.words[-1]) >> (self.size % 64):
            raise BadValue(f"the bitmap is corrupted: it holds rows beyond the {self.size} that there are", fix="make it again from the index")

    @classmethod
    def of(cls, mask: np.ndarray) -> Bitmap:
        """From bool [rows]."""
        packed = np.zeros(-(-mask.size // 64) * 8, np.uint8)
        bits = np.packbits(mask, bitorder="little")
        packed[: bits.size] = bits
        return cls(packed.view(np.uint64), mask.size)

    @classmethod
    def of_rows(cls, rows: np.ndarray, size: int) -> Bitmap:
        """From row numbers, each within 0..size-1."""
        mask = np.zeros(size, bool)
        mask[rows] = True
        return cls.of(mask)

    @classmethod
    def full(cls, size: int) -> Bitmap:
        """All rows."""
        return cls.of(np.ones(size, bool))

    @classmethod
    def empty(cls, size: int) -> Bitmap:
        """No row."""
        return cls(np.zeros(-(-size // 64), np.uint64), size)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return int(_ONES[self.words.view(np.uint16)].sum(dtype=np.int64))

    def __and__(self, other: Bitmap) -> Bitmap:
        self._same_size(other)
        return Bitmap(self.words & other.words, self.size)

    def __or__(self, other: Bitmap) -> Bitmap:
        self._same_size(other)
        return Bitmap(self.words | other.words, self.size)

    def __invert__(self) -> Bitmap:
        words = ~self.words
        if self.size % 64:
            words[-1] &= np.uint64((1 << (self.size % 64)) - 1)
        return Bitmap(words, self.size)

    def mask(self) -> np.ndarray:
        """Bool [size]."""
        return np.unpackbits(self.words.view(np.uint8), count=self.size, bitorder="little").view(bool)

    def rows(self) -> np.ndarray:
        """int32, ascending."""
        return np.flatnonzero(self.mask()).astype(np.int32)

    def grown(self, size: int, value: bool) -> Bitmap:
        """The same with `value` for all rows from the old size to the new one."""
        if size < self.size:
            raise BadValue(f"the bitmap is of {self.size} rows, more than the {size} that there are", fix="make it again from the index")
        return self if size == self.size else Bitmap.of(np.concatenate([self.mask(), np.full(size - self.size, value)]))

    def _same_size(self, other: Bitmap) -> None:
        if self.size != other.size:
            raise ConfigError(f"bitmaps of {self.size} and {other.size} rows do not go together", fix="make both from the same index")


@dataclass(frozen=True, eq=False)
class Standing:
    """What one person may be shown of one index, whatever is asked: consent, language, blocked, already seen. Made by `ItemIndex.standing`."""

    bitmap: Bitmap
    numbering: str
    """Of the index whose rows it counts."""
    later: bool = True
    """Whether items that were added after it was made are allowed."""

    def to_bytes(self) -> bytes:
        """Compressed, for any store: about as many bytes as an eighth of the rows, far fewer when most are alike."""
        head = json.dumps({"size": self.bitmap.size, "numbering": self.numbering, "later": self.later}).encode()
        return len(head).to_bytes(4, "little") + head + zlib.compress(self.bitmap.words.tobytes(), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> Standing:
        """The reverse of `to_bytes`; raises `CorruptFile`."""
        try:
            end = 4 + int.from_bytes(data[:4], "little")
            head = json.loads(data[4:end])
            size, most = int(head["size"]), -(-int(head["size"]) // 64) * 8
            unpacker = zlib.decompressobj()
            words = unpacker.decompress(data[end:], most + 1)
            if len(words) != most or not unpacker.eof:
                raise ValueError("wrong length")
            return cls(Bitmap(np.frombuffer(words, np.uint64), size), str(head["numbering"]), bool(head["later"]))
        except (ValueError, KeyError, TypeError, zlib.error) as cause:
            raise CorruptFile("these bytes are not a whole standing filter", fix="make it again from the index") from cause
