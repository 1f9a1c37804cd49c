"""Which of a person's positives to learn from: drawn by that person's own losses, so that clicks that do not fit the rest are rare.

For any pairwise method: draw people, a pool of each one's positives and one negative; compute the pool's losses without gradient; choose.
Source: Zhang et al., Personalized Denoising Implicit Feedback for Robust Recommender System, WWW 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from sartor.errors import ConfigError


@dataclass(frozen=True, eq=False)
class PersonLossSampler:
    """Positives of a CSR of histories, resampled by personal losses."""

    indptr: np.ndarray
    """int64 [people + 1]."""
    indices: np.ndarray
    """int32 [events], item numbers."""
    pool: int = 5
    """Positives that compete in one draw; 1 draws uniformly."""
    temperature: float = 0.1
    """The smaller, the more surely the pool's smallest loss wins."""

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.pool < 1:
            raise ConfigError(f"temperature {self.temperature}, pool {self.pool}", fix="temperature must be > 0, and pool at least 1")

    def people(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """int64 [count]: people with events, uniformly over people, however many events each has."""
        active = np.flatnonzero(np.diff(self.indptr) > 0)
        return active[rng.integers(0, active.size, count)]

    def pools(self, rng: np.random.Generator, people: np.ndarray) -> np.ndarray:
        """int32 [len(people), pool], items: distinct events of each person, or drawn with replacement by those who have fewer."""
        return _pools(self.indptr, self.indices, np.asarray(people, np.int64), rng.random((len(people), self.pool)))

    def probabilities(self, losses: np.ndarray) -> np.ndarray:
        """float64 [b, pool]: softmax(-loss / temperature) in every row."""
        weights = np.exp((losses.min(1, keepdims=True) - losses.astype(np.float64)) / self.temperature)
        return weights / weights.sum(1, keepdims=True)

    def choose(self, uniform: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """int64 [b]: the chosen column of each row, from uniform numbers [b]."""
        reached = np.cumsum(self.probabilities(losses), 1) > uniform[:, None]
        return np.where(reached.any(1), reached.argmax(1), losses.shape[1] - 1)


@numba.njit(cache=True, nogil=True)
def _pools(indptr, indices, people, uniform):  # type: ignore[no-untyped-def]
    count, pool = uniform.shape
    out = np.empty((count, pool), np.int32)
    drawn = np.empty(pool, np.int64)
    for b in range(count):
        start, n = indptr[people[b]], indptr[people[b] + 1] - indptr[people[b]]
        for k in range(pool):
            if n < pool:
                out[b, k] = indices[start + int(uniform[b, k] * n)]
                continue
            # A uniform rank among those not drawn yet: every place of the pool is uniform, not only the pool as a set.
            at, place = int(uniform[b, k] * (n - k)), 0
            while place < k and drawn[place] <= at:
                at += 1
                place += 1
            for later in range(k, place, -1):
                drawn[later] = drawn[later - 1]
            drawn[place] = at
            out[b, k] = indices[start + at]
    return out
