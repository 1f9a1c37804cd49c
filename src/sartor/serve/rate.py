"""Rate limits per key: a sliding window, counted over all workers of a server.

Every worker counts in a row of its own of one small table and reads the rows of the others, so nobody waits for anybody and no database is
asked. The limit holds for the server as a whole, to within the few requests that workers count at the very same moment.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import re
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from sartor.errors import ConfigError
from sartor.serve.problems import Refused

PLACES = 2**16
"""Keys are told apart by this many places; two that fall into one share a limit."""
_NUMBERS = 3  # of a place: the window, requests in it, requests in the one before
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_FORM = re.compile(r"\s*(\d{1,12})\s*(?:/|per)\s*(\d{1,6})?\s*(second|minute|hour|day)s?\s*", re.IGNORECASE)


def table(path: Path, rows: int) -> None:
    """Make the file that up to `rows` workers share; what is not written yet takes no room."""
    with path.open("wb") as file:
        file.truncate(rows * PLACES * _NUMBERS * 8)


class Rate:
    """A sliding window per key.

    Parameters
    ----------
    rate: like 100/second or 6000/minute; None: no limit.
    shared: the file made by `table`; None: this process is alone.
    clock: seconds since 1970.

    Raises `ConfigError` for a rate that is none.
    """

    def __init__(self, rate: str | None, shared: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.rate, self.clock = rate, clock
        self.amount, self.seconds = _parsed(rate) if rate is not None else (0, 1)
        self._lock = threading.Lock()
        self._file = os.open(shared, os.O_RDWR) if shared is not None else None
        nbytes = PLACES * _NUMBERS * 8
        rows = 1 if self._file is None else os.fstat(self._file).st_size // nbytes
        self._numbers = memoryview(mmap.mmap(-1 if self._file is None else self._file, rows * nbytes)).cast("q")
        self._rows = [place * PLACES * _NUMBERS for place in range(rows)]
        self._own = self._rows[self._free(rows)]

    def _free(self, rows: int) -> int:
        """A row that no living process has; the lock ends with the process, however that ends."""
        if self._file is None:
            return 0
        for row in range(rows):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
            except OSError:
                continue
            return row
        raise ConfigError(f"more than {rows} processes share these limits", fix="start the server again")

    def check(self, key: str, cost: int = 1) -> None:
        """Count a request; raise `Refused` with status 429 and Retry-After when it is one too many."""
        if self.rate is None:
            return
        # What costs more than a whole window must still be possible once in one.
        cost = min(cost, self.amount)
        now = self.clock()
        window = int(now // self.seconds)
        into = now / self.seconds - window
        place = zlib.crc32(key.encode()) % PLACES * _NUMBERS
        with self._lock:
            present, before = self._counted(place, window)
            if present + before * (1 - into) + cost <= self.amount:
                self._count(self._own + place, window, cost)
                return
        wait = max(1, math.ceil((1 - into) * self.seconds))
        raise Refused(
            429, "rate-limited", f"this key may make {self.rate} requests", fix=f"wait {wait} s, or ask for a higher limit",
            headers={"Retry-After": str(wait)},
        )  # fmt: skip

    def _counted(self, place: int, window: int) -> tuple[int, int]:
        """Requests of all workers in this window, and in the one before."""
        present = before = 0
        for row in self._rows:
            theirs, now, then = self._numbers[row + place : row + place + _NUMBERS]
            if theirs == window:
                present, before = present + now, before + then
            elif theirs == window - 1:
                before += now
        return present, before

    def _count(self, at: int, window: int, cost: int) -> None:
        numbers = self._numbers
        if numbers[at] != window:
            numbers[at + 2] = numbers[at + 1] if numbers[at] == window - 1 else 0
            numbers[at + 1], numbers[at] = 0, window
        numbers[at + 1] += cost

    def close(self) -> None:
        """Let another process have the row."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _parsed(rate: str) -> tuple[int, int]:
    found = _FORM.fullmatch(rate)
    if found is None or not int(found[1]) or found[2] == "0":
        raise ConfigError(f"rate is '{rate}'", fix="write it like 100/second or 6000/minute")
    return int(found[1]), int(found[2] or 1) * _SECONDS[found[3].lower()]
