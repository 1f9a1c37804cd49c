"""From the scores of strangers to the score above which somebody is recognized, for any number of people who are enrolled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.errors import ConfigError

MOST = 20_000
TAIL = 0.05
"""Share of the highest scores that say how the rest of the tail falls."""
FEW = 20
"""Scores of the tail from which its shape is estimated; below, it is taken to fall exponentially."""


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

        With n people there are n chances, so each may have 1 - (1 - chance) ** (1 / n). Below what the scores show themselves, the tail falls as a
        generalised Pareto distribution of its upper 5 % (peaks over threshold, Pickands 1975; probability-weighted moments, Hosking and Wallis 1987).
        Cosines end at 1, so that its shape is at most 0, exponential; it is taken one standard error nearer to that, as a threshold that is too low
        breaks the promise.
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
        shape, scale = _pareto(beyond) if beyond.size else (0.0, 1e-6)
        times = float(np.log(TAIL / each))
        return start + scale * (times if shape == 0 else float(np.expm1(shape * times)) / shape)


def _pareto(beyond: np.ndarray) -> tuple[float, float]:
    """Shape, never above 0, and scale of rising excesses over a high score."""
    n, mean = beyond.size, float(beyond.mean())
    if n < FEW:
        return 0.0, mean
    weighted = float((beyond * (1 - (np.arange(1, n + 1) - 0.35) / n)).mean())
    # The standard error of the shape is 1.15 to 1.35 / sqrt(n) for shapes from 0 to -0.3.
    shape = min(0.0, 2 - mean / max(mean - 2 * weighted, 1e-12) + 1.25 / n**0.5)
    # The scale whose mean is that of the excesses.
    return shape, mean * (1 - shape)
