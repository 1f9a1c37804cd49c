"""What only a generated population can tell: the true taste of a person, and how well anybody could do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sartor.data.splits import Split
    from sartor.data.world import World

ROWS = 500
"""People scored at once."""
LIKED = 0.05
"""Share of a taste from which on a person is said to like something."""


@dataclass(frozen=True, eq=False)
class Generated:
    """The truth behind a generated population, for display beside what methods make of the events alone. No method sees it."""

    world: World

    def taste(self, person: Any) -> str:
        """'quiet thrillers 45%, strange jazz records 30% and more', as it is at the end of the time."""
        interests = self.world.people_tastes([int(person)]).describe(0)
        return ", ".join(f"{name} {share:.0%}" for name, share in interests[:4]) + (" and more" if len(interests) > 4 else "")

    def liked(self, person: Any, items: Sequence[Any]) -> int:
        """How many items of a list are of something the person truly likes (at least a twentieth of their taste)."""
        return int((self.world.affinity([int(person)], [int(item) for item in items]) >= LIKED).sum()) if len(items) else 0

    def ceiling(self, split: Split, headline: str) -> float:
        """The headline metric of lists made from the exact probabilities behind the events: who knows only tastes cannot do better."""
        from sartor.evaluate.metrics.ranking import Truth, ranking
        from sartor.parts.topk import top_k

        name, _, k = headline.partition("@")
        catalogue = split.train.interactions().items
        test = split.test.interactions(items=catalogue)
        seen = split.evidence.interactions(items=catalogue, people=test.people)
        truth, values = Truth.of(test), []
        for start in range(0, len(test.people), ROWS):
            rows = np.arange(start, min(start + ROWS, len(test.people)))
            scores = self.world.chance(test.people.array[rows], catalogue.array)
            best, _ = top_k(scores, int(k), left_out=[seen.history(int(row)) for row in rows], seed=0)
            values.append(ranking(best, truth.take(rows), (int(k),))[name][:, 0])
        return float(np.nanmean(np.concatenate(values)))
