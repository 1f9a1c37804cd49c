"""How much a store holds: counted anew where that costs nothing, else kept for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

SMALL = 20_000
"""Records and states up to which they are counted every time."""
SHARE = 0.02
"""Of the time, at most, that is spent on counting a large store, however often it is asked for."""
MOST = 10_000
"""Tenants whose counts are kept."""


class Counts:
    """Counts of tenants, shared by all who ask in this process."""

    def __init__(self, store: ProfileStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._kept: dict[str, tuple[float, Mapping[str, int]]] = {}

    def of(self, tenant: str) -> Mapping[str, int]:
        """See `ProfileStore.counts`; of a large store they may be as old as 50 times what counting takes."""
        start = self._clock()
        kept = self._kept.get(tenant)
        if kept is not None and start < kept[0]:
            return kept[1]
        found = self._store.counts(tenant)
        took = self._clock() - start
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[tenant] = start + (took / SHARE if found["records"] + found["states"] > SMALL else 0.0), found
        return found
