"""What everybody likes: the answer without personalisation, and the bar that every method has to clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sartor.errors import ConfigError
from sartor.method import Run, States, learned
from sartor.recommend._base import ItemRecommender, PersonalArrays

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population

DAY = 86_400


@dataclass(kw_only=True, eq=False)
class Popularity(ItemRecommender):
    """Items by how many people chose them, the same for everybody; only what a person has already seen differs.

    State: `items` int32 [n].
    """

    half_life_days: float | None = None
    """An event counts half after so many days before the newest one; None counts all alike. Needs times."""

    popularity_: np.ndarray = learned()
    """float32 [items]: people per item, or their decayed sum."""

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        if self.half_life_days is None:
            people = data.matrix()
            self.popularity_ = np.bincount(people.indices, minlength=len(data.items)).astype(np.float32)
            return
        if not self.half_life_days > 0:
            raise ConfigError(f"half_life_days is {self.half_life_days}", fix="use a number above 0, or None")
        if not data.times.any():
            raise ConfigError("half_life_days needs times, and the events have none", fix="leave it None, or add the column 'time'")
        age = (data.times.max() - data.times) / DAY
        decayed = data.weights * np.exp2(-age / self.half_life_days)
        self.popularity_ = np.bincount(data.indices, weights=decayed, minlength=len(data.items)).astype(np.float32)

    def _encode(self, histories: Interactions) -> PersonalArrays:
        return {}

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        scores = self.popularity_ if items is None else self.popularity_[items]
        return np.repeat(scores[None], len(states), axis=0)
