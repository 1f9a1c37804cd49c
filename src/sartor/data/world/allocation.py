"""People who each need a certain level of quality, and rate what they were given: the truth behind shared budgets.

world = Allocation(people=40, seed=0)
world.ratings(25)               person, item, level, value, time: noisy ratings at random levels
world.satisfaction(levels)      exactly how satisfied each is at a level
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from sartor.errors import ConfigError

START = 1_700_000_000
DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """A cell of a network, generated: nobody's real needs.

    A person's adequate level a is uniform in 1 to 4 Mbps, the desired one d lies 0.5 to 5 above it. Satisfaction is logistic in the level, 0.2 at a
    and 0.8 at d. Ratings have normal noise and are cut to 0 to 1.
    """

    people: int
    noise: float = 0.1
    """Standard deviation of a rating."""
    shift: float = 0.0
    """Mbps by which everybody needs more than in the same world without: a drift."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.people < 1 or self.noise < 0:
            raise ConfigError(f"{self.people} people, noise {self.noise}", fix="give at least one person, and noise not below 0")

    @cached_property
    def zones(self) -> tuple[np.ndarray, np.ndarray]:
        """Adequate and desired level of each, float64 [people], Mbps."""
        rng = np.random.default_rng([self.seed, 83])
        adequate = rng.uniform(1.0, 4.0, self.people)
        return adequate + self.shift, adequate + rng.uniform(0.5, 5.0, self.people) + self.shift

    @property
    def middle(self) -> np.ndarray:
        """float64 [people]: where satisfaction is a half, Mbps."""
        return (self.zones[0] + self.zones[1]) / 2

    @cached_property
    def efficiency(self) -> np.ndarray:
        """float64 [people]: spectral efficiency, bit/s/Hz."""
        return np.random.default_rng([self.seed, 89]).uniform(0.8, 5.5, self.people)

    def satisfaction(self, levels: np.ndarray) -> np.ndarray:
        """float64 [people, L] at levels [L] or [people, L], Mbps."""
        adequate, desired = self.zones
        slope = 2 * np.log(4.0) / (desired - adequate)
        levels = np.asarray(levels, np.float64)
        levels = levels if levels.ndim == 2 else levels[None, :]
        return np.asarray(1 / (1 + np.exp(-slope[:, None] * (levels - self.middle[:, None]))))

    def ratings(self, each: int = 25, *, after: int = 0) -> pl.DataFrame:
        """Some ratings of everybody, one a day, at levels uniform in 0.2 to 10 Mbps.

        Parameters
        ----------
        after: days before the first; other days are other levels and other noise.
        """
        rng = np.random.default_rng([self.seed, 97, after])
        levels = rng.uniform(0.2, 10.0, (self.people, each))
        values = np.clip(self.satisfaction(levels) + self.noise * rng.normal(size=levels.shape), 0.0, 1.0)
        who = np.repeat(np.arange(self.people), each)
        return pl.DataFrame(
            {
                "person": who, "item": ["video"] * who.size, "level": levels.ravel(), "value": values.ravel(),
                "time": START + DAY * (after + np.tile(np.arange(each), self.people)),
            }
        )  # fmt: skip
