"""How far predicted ratings are from given ones: MAE, MSE, RMSE, MAPE, R2, explained variance; sums that stream and merge.

Means are over ratings, not over people, unless `by_person` says so: a person with a thousand ratings counts a thousand times.

| name               | definition, with e = truth - prediction |
|--------------------|------------|
| mae                | mean |e| |
| mse, rmse          | mean e^2, and its root |
| mape               | mean |e / truth|, over ratings that are not 0 |
| r2                 | 1 - sum e^2 / sum (truth - mean truth)^2; NaN where all ratings are equal |
| explained_variance | 1 - var(e) / var(truth): as r2, but forgives a constant error |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sartor.errors import BadValue, ConfigError

RATING = ("mae", "mse", "rmse", "mape", "r2", "explained_variance")


@dataclass
class RatingSums:
    """What the rating metrics need of all ratings so far. Spreads are merged as central sums, which stay exact near large means."""

    n: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    relative: float = 0.0
    relative_n: int = 0
    truth_mean: float = 0.0
    truth_spread: float = 0.0
    """Sum of (truth - mean)^2."""
    error_mean: float = 0.0
    error_spread: float = 0.0

    @classmethod
    def of(cls, truth: np.ndarray, predicted: np.ndarray) -> RatingSums:
        """Of one chunk: float [n] each. Raises `BadValue` when a number is missing."""
        truth, predicted = np.asarray(truth, np.float64).ravel(), np.asarray(predicted, np.float64).ravel()
        if truth.size != predicted.size:
            raise ConfigError(f"{truth.size} ratings, {predicted.size} predictions", fix="give one prediction per rating")
        for name, values in (("rating", truth), ("prediction", predicted)):
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                raise BadValue(f"{int((~np.isfinite(values)).sum())} of the {name}s are not finite", fix="leave them out", row=row)
        if not truth.size:
            return cls()
        error = truth - predicted
        nonzero = truth != 0
        return cls(
            truth.size, float(np.abs(error).sum()), float((error**2).sum()), float(np.abs(error[nonzero] / truth[nonzero]).sum()), int(nonzero.sum()),
            float(truth.mean()), float(((truth - truth.mean()) ** 2).sum()), float(error.mean()), float(((error - error.mean()) ** 2).sum()),
        )  # fmt: skip

    def merge(self, other: RatingSums) -> RatingSums:
        """Both together."""
        n = self.n + other.n
        if not n:
            return RatingSums()

        def spread(name: str) -> tuple[float, float]:
            gap = getattr(other, f"{name}_mean") - getattr(self, f"{name}_mean")
            mean = getattr(self, f"{name}_mean") + gap * other.n / n
            return mean, getattr(self, f"{name}_spread") + getattr(other, f"{name}_spread") + gap**2 * self.n * other.n / n

        truth_mean, truth_spread = spread("truth")
        error_mean, error_spread = spread("error")
        return RatingSums(
            n, self.absolute + other.absolute, self.squared + other.squared, self.relative + other.relative, self.relative_n + other.relative_n,
            truth_mean, truth_spread, error_mean, error_spread,
        )  # fmt: skip

    def result(self) -> dict[str, float]:
        """Metric -> value; NaN where nothing can be said."""
        if not self.n:
            return dict.fromkeys(RATING, math.nan)
        mse = self.squared / self.n
        varied = self.truth_spread > 0
        return {
            "mae": self.absolute / self.n, "mse": mse, "rmse": math.sqrt(mse),
            "mape": self.relative / self.relative_n if self.relative_n else math.nan,
            "r2": 1 - self.squared / self.truth_spread if varied else math.nan,
            "explained_variance": 1 - self.error_spread / self.truth_spread if varied else math.nan,
        }  # fmt: skip


def rating(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """All rating metrics over ratings: float [n] each."""
    return RatingSums.of(truth, predicted).result()


def by_person(truth: np.ndarray, predicted: np.ndarray, people: np.ndarray) -> dict[str, np.ndarray]:
    """MAE, MSE and RMSE of each person, float64 [people], for means over people; `people` int [n] holds person numbers."""
    error = np.asarray(truth, np.float64) - np.asarray(predicted, np.float64)
    counts = np.bincount(people)
    with np.errstate(invalid="ignore", divide="ignore"):
        mse = np.bincount(people, error**2) / counts
        return {"mae": np.bincount(people, np.abs(error)) / counts, "mse": mse, "rmse": np.sqrt(mse)}
