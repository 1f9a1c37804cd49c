"""One network, many who want it: a lock that its holder can pass on in between."""

from __future__ import annotations

import threading
import time

PAUSE = 1e-3
"""Seconds for which the holder steps back, so that a thread that waits wakes up first."""


class Turns:
    """As `threading.RLock`, and whoever works for long in steps passes it on between two of them (`pass_on`)."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counting = threading.Lock()
        self._waiting = 0
        self._depth = 0

    def __enter__(self) -> None:
        with self._counting:
            self._waiting += 1
        self._lock.acquire()
        with self._counting:
            self._waiting -= 1
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()

    def pass_on(self) -> None:
        """For the holder: let those who wait go first. Nothing where nobody waits, and where it is held more than once: for changes that others
        must not meet."""
        if self._depth != 1 or not self._waiting:
            return
        self.__exit__()
        time.sleep(PAUSE)
        self.__enter__()
