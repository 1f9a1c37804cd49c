"""How good a recommender is while it trains: NDCG@10 on held-out events, for early stopping only.

Judging a finished method is `sartor.evaluate`'s business; this is the small inner loop that iterative methods share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sartor.parts.topk import top_k

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population
    from sartor.recommend._base import ItemRecommender


class Validation:
    """Calling it gives the mean NDCG@k over (at most `people`) people with validation events, full ranking, training items left out.

    Parameters
    ----------
    method: its current learned attributes are what is judged.
    data: what it is fitted on: the histories.
    held_out: the validation events.
    """

    def __init__(self, method: ItemRecommender, data: Interactions, held_out: Population, *, k: int = 10, people: int = 2000) -> None:
        truth = held_out.interactions(items=data.items)
        rows = data.people.numbers(truth.people.ids)
        usable = np.flatnonzero((rows >= 0) & (truth.lengths > 0))
        if usable.size > people:
            usable = np.sort(np.random.default_rng(method.seed).choice(usable, people, replace=False))
        self.method, self.k = method, k
        self.histories = data.take(rows[usable])
        self.truth = truth.take(usable)

    def __call__(self) -> float:
        total, count = 0.0, len(self.histories.people)
        for start in range(0, count, 512):
            rows = np.arange(start, min(start + 512, count))
            histories, truth = self.histories.take(rows), self.truth.take(rows)
            states = list(self.method._states(histories, [None] * rows.size, histories.lengths.tolist(), 0))
            best, _ = top_k(self.method._score(states, None), self.k, left_out=[state["items"] for state in states], seed=self.method.seed)
            total += float(_ndcg(best, truth).sum())
        return total / max(1, count)


def _ndcg(best: np.ndarray, truth: Interactions) -> np.ndarray:
    """NDCG of each row with binary relevance."""
    discount = 1 / np.log2(np.arange(best.shape[1]) + 2)
    pairs = truth.rows.astype(np.int64) * (len(truth.items) + 1) + truth.indices
    mine = np.arange(best.shape[0])[:, None] * (len(truth.items) + 1) + best
    hits = np.isin(mine, pairs) & (best >= 0)
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    relevant = np.minimum([np.unique(truth.history(row)).size for row in range(best.shape[0])], best.shape[1])
    return (hits * discount).sum(1) / np.maximum(ideal[relevant], 1e-12)
