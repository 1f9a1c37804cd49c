"""Rate limits per key. They are counted in this process alone, in memory: N workers let N times as many through."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from sartor.errors import ConfigError
from sartor.serve.problems import Refused


class Rate:
    """A sliding window per key."""

    def __init__(self, rate: str | None) -> None:
        try:
            self.item: RateLimitItem | None = None if rate is None else parse(rate)
        except ValueError as error:
            raise ConfigError(f"rate is '{rate}'", fix="write it like 100/second or 6000/minute") from error
        self.windows = SlidingWindowCounterRateLimiter(MemoryStorage())

    def check(self, key: str, cost: int = 1) -> None:
        """Count a request; raise `Refused` with status 429 and Retry-After when it is one too many."""
        # What costs more than a whole window must still be possible once in one.
        if self.item is None or self.windows.hit(self.item, key, cost=min(cost, self.item.amount)):
            return
        wait = max(1, math.ceil(self.windows.get_window_stats(self.item, key).reset_time - time.time()))
        raise Refused(
            429, "rate-limited", f"this key may make {self.item} requests", fix=f"wait {wait} s, or ask for a higher limit",
            headers={"Retry-After": str(wait)},
        )  # fmt: skip
