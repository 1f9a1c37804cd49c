"""A byte scan: does anything of a person still lie in the files of a store?

Needles are what would give a person away: her id, the ids of her records and items, her subject hash, her wrapped data key, the first bytes
of her encrypted rows. Each is looked for in every form in which software tends to write text or bytes. A hit says where and in which form,
never what: reports are safe to keep.

A needle shorter than `SHORTEST` bytes in some form is not looked for in that form, because chance alone would find it in encrypted data; a
needle for which no form is left is named in `Scan.too_short`.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

SHORTEST = 6
"""Bytes. By chance, 6 given bytes stand in a terabyte of random data about 0.004 times."""
LONGEST = 64
"""Of a longer form, the first so many bytes are looked for."""
_CHUNK = 1 << 24
_MOST_HITS = 1000


@dataclass(frozen=True)
class Hit:
    """One place where a needle was found."""

    file: str
    offset: int
    what: str
    """Name of the needle, e.g. "person id"."""
    form: str
    """How it was written, e.g. "utf-16-le"."""


@dataclass(frozen=True)
class Scan:
    """What was looked through, and what was found there."""

    files: int
    nbytes: int
    seconds: float
    needles: int
    """How many byte patterns were looked for."""
    hits: tuple[Hit, ...]
    """At most 1,000."""
    too_short: tuple[str, ...] = ()
    """Needles that say nothing, because chance would find them as well."""
    unreadable: tuple[str, ...] = ()
    """Files and folders that could not be read, so nothing is known about them."""

    @property
    def clean(self) -> bool:
        """Something was looked through, everything could be read, and nothing was found."""
        return self.files > 0 and not self.hits and not self.unreadable

    def as_dict(self) -> dict[str, Any]:
        """The scan as plain data."""
        return {**asdict(self), "clean": self.clean}


def forms(needle: str | bytes) -> dict[str, bytes]:
    """The ways in which text or bytes may have been written, by name; equal ones once."""
    found: dict[str, bytes] = {}
    if isinstance(needle, str):
        raw = needle.encode("utf-8", "surrogatepass")
        found["utf-8"] = raw
        found["utf-16-le"] = needle.encode("utf-16-le", "surrogatepass")
        found["utf-16-be"] = needle.encode("utf-16-be", "surrogatepass")
        found["json"] = json.dumps(needle)[1:-1].encode()
        found["url"] = quote(raw, safe="").encode()
    else:
        raw = needle
        found["raw"] = raw
    raw = raw[:LONGEST]
    found["hex"] = raw.hex().encode()
    found["HEX"] = raw.hex().upper().encode()
    for shift in range(3):
        # What stands before a needle shifts its base64; characters that also depend on the neighbours are left out.
        inner = base64.b64encode(b"\0" * shift + raw)
        end = (len(raw) + shift) * 8 // 6
        found[f"base64+{shift}"] = inner[-(-shift * 8 // 6) : end]
    different: dict[bytes, str] = {}
    for name, data in found.items():
        if len(data) >= SHORTEST:
            different.setdefault(data[:LONGEST], name)
    return {name: data for data, name in different.items()}


def scan(paths: Iterable[str | Path], needles: Mapping[str, Iterable[str | bytes]]) -> Scan:
    """Look for needles in files and, below folders, in all their files.

    Parameters
    ----------
    paths: files and folders; links are not followed, and what does not exist is passed over.
    needles: by a name that may be shown, e.g. {"person id": ["ana"], "item id": [...]}.
    """
    start = time.perf_counter()
    patterns: dict[bytes, tuple[str, str]] = {}
    too_short = []
    for what, values in needles.items():
        for value in values:
            written = forms(value)
            if not written:
                too_short.append(what)
            for form, data in written.items():
                patterns.setdefault(data, (what, form))
    finder = _Finder(list(patterns))
    hits: list[Hit] = []
    unreadable: list[str] = []
    files = nbytes = 0
    for path in _files(paths, unreadable):
        try:
            for offset, pattern in finder.file(path):
                if len(hits) < _MOST_HITS:
                    hits.append(Hit(str(path), offset, *patterns[pattern]))
            nbytes += path.stat().st_size
            files += 1
        except FileNotFoundError:
            continue  # a log file or temporary file that its owner took away meanwhile
        except OSError:
            unreadable.append(str(path))
    seconds = time.perf_counter() - start
    return Scan(files, nbytes, seconds, len(patterns), tuple(hits), tuple(sorted(set(too_short))), tuple(unreadable))


def _files(paths: Iterable[str | Path], unreadable: list[str]) -> Iterator[Path]:
    for given in map(Path, paths):
        if given.is_file():
            yield given
            continue
        if not os.path.lexists(given):
            continue
        for folder, _, names in os.walk(given, onerror=lambda problem: unreadable.append(str(problem.filename))):
            for name in sorted(names):
                path = Path(folder) / name
                if path.is_file() and not path.is_symlink():
                    yield path


class _Finder:
    """Finds many patterns at once: numpy rules out nearly all places by the first six bytes, two at a time."""

    def __init__(self, patterns: list[bytes]) -> None:
        self.by_head: dict[bytes, list[bytes]] = {}
        self.tables = np.zeros((3, 1 << 16), bool)
        self.overlap = max(map(len, patterns), default=1) - 1
        for pattern in patterns:
            self.by_head.setdefault(pattern[:SHORTEST], []).append(pattern)
            self.tables[np.arange(3), np.frombuffer(pattern[:SHORTEST], "<u2")] = True

    def file(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """(offset, pattern) of every place where one begins."""
        if not self.by_head:
            return
        before, tail = 0, b""
        with path.open("rb") as file:
            while fresh := file.read(_CHUNK):
                data = tail + fresh
                yield from ((before + at, pattern) for at, pattern in self._chunk(data) if at + len(pattern) > len(tail))
                tail = data[max(0, len(data) - self.overlap) :] if self.overlap else b""
                before += len(data) - len(tail)

    def _chunk(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        if len(data) < SHORTEST:
            return
        for odd in (0, 1):
            pairs = np.frombuffer(data, "<u2", offset=odd, count=(len(data) - odd) // 2)
            usable = len(pairs) - SHORTEST // 2 + 1
            if usable <= 0:
                continue
            places = np.flatnonzero(self.tables[0].take(pairs[:usable]))
            for step in (1, 2):
                places = places[self.tables[step].take(pairs[places + step])]
            for place in (2 * places + odd).tolist():
                for pattern in self.by_head.get(data[place : place + SHORTEST], ()):
                    if data.startswith(pattern, place):
                        yield place, pattern
