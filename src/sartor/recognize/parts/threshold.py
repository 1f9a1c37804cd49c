"""From the scores of strangers to the score above which somebody is recognized, for any number of people who are enrolled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.errors import ConfigError

MOST = 20_000
TAIL = 0.05
"""Share of the highest scores that say how the rest of the tail falls."""


@dataclass(frozen=True)
class Impostors:
    """Scores of pairs of strangers, rising."""

    scores: np.ndarray

    @staticmethod
    def sample(scores: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """float32, at most 20,000 of them, rising."""
        flat = np.ravel(scores).astype(np.float32)
        if flat.size > MOST:
            flat = np.random.default_rng([seed, 5]).choice(flat, MOST, replace=False)
        return np.sort(flat)

    def threshold(self, false_accepts: float, enrolled: int = 1) -> float:
        """The score that a stranger reaches for any of `enrolled` people with at most this chance.

        With n people there are n chances, so each may have 1 - (1 - chance) ** (1 / n). Below what the scores show themselves, the tail is taken to
        fall exponentially, as its upper 5 % do (peaks over threshold, Pickands 1975, shape 0).
        """
        if enrolled < 1 or not self.scores.size:
            raise ConfigError(f"{enrolled} people enrolled and {self.scores.size} strangers", fix="both must be at least 1")
        each = -np.expm1(np.log1p(-false_accepts) / enrolled)
        if each * self.scores.size >= 10:
            # Above this many of them, the rest is at most the share.
            place = int(np.ceil((1 - each) * self.scores.size)) - 1
            return float(np.nextafter(np.float32(self.scores[place]), np.float32(np.inf)))
        start = float(np.quantile(self.scores, 1 - TAIL))
        beyond = self.scores[self.scores > start] - start
        return start + float(beyond.mean() if beyond.size else 1e-6) * float(np.log(TAIL / each))
