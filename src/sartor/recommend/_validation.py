"""How good a recommender is while it trains: NDCG@10 on held-out events, for early stopping only.

Judging a finished method is `sartor.evaluate`'s business; this is the small inner loop that iterative methods share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sartor.errors import EmptyData
from sartor.parts.topk import top_k

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population
    from sartor.method import Run
    from sartor.recommend._base import ItemRecommender


class _Chunk(NamedTuple):
    histories: Interactions
    seen: list[np.ndarray]
    truth: np.ndarray
    """int64, sorted: row * items + item of the held-out events that can be recommended."""
    ideal: np.ndarray
    """float64 [rows]: the best DCG there could be."""


class Validation:
    """Calling it gives the mean NDCG@k over (at most `people`) people with validation events, full ranking, training items left out.

    What does not change from epoch to epoch (who is asked, their histories, the truth, the ideal) is laid out once.

    Parameters
    ----------
    method: its current learned attributes are what is judged.
    data: what it is fitted on: the histories.
    held_out: the validation events. Raises `EmptyData` when none of them is of a person and an item of `data`.
    """

    def __init__(self, method: ItemRecommender, data: Interactions, held_out: Population, *, k: int = 10, people: int = 10_000) -> None:
        truth = held_out.interactions(items=data.items)
        rows = data.people.numbers(truth.people.ids)
        usable = np.flatnonzero((rows >= 0) & (truth.lengths > 0))
        if not usable.size:
            raise EmptyData("no validation event is of a person and an item of the training data", fix="leave validation out, or split differently")
        if usable.size > people:
            usable = np.sort(np.random.default_rng(method.seed).choice(usable, people, replace=False))
        # People with histories of like length stand together: sequence models then pad little.
        usable = usable[np.argsort(data.lengths[rows[usable]], kind="stable")]
        self.method, self.k, self.people = method, k, int(usable.size)
        self._discount = 1 / np.log2(np.arange(k) + 2)
        self._chunks = [self._chunk(data.take(rows[some]), truth.take(some)) for some in np.array_split(usable, -(-usable.size // 512))]

    def _chunk(self, histories: Interactions, truth: Interactions) -> _Chunk:
        pairs = np.unique(truth.rows.astype(np.int64) * len(truth.items) + truth.indices)
        best = np.concatenate([[0.0], np.cumsum(self._discount)])
        wanted = np.bincount(pairs // len(truth.items), minlength=len(truth.people))
        seen = [histories.history(row) for row in range(len(histories.people))]
        return _Chunk(histories, seen, pairs, best[np.minimum(wanted, self.k)])

    def __call__(self) -> float:
        return sum(float(self._ndcg(chunk).sum()) for chunk in self._chunks) / self.people

    def _ndcg(self, chunk: _Chunk) -> np.ndarray:
        """NDCG of each person with binary relevance."""
        states = list(self.method._states(chunk.histories, [None] * len(chunk.seen), chunk.histories.lengths.tolist(), 0))
        best, _ = top_k(self.method._score(states, None), self.k, left_out=chunk.seen, seed=self.method.seed)
        keys = np.arange(best.shape[0])[:, None] * len(chunk.histories.items) + best
        at = np.minimum(np.searchsorted(chunk.truth, keys), chunk.truth.size - 1)
        hits = (chunk.truth[at] == keys) & (best >= 0)
        return (hits * self._discount[: best.shape[1]]).sum(1) / chunk.ideal


def validation(method: ItemRecommender, data: Interactions, run: Run) -> Validation | None:
    """The validation of a run; None when it has none, or none that says anything about the people and items of `data`."""
    if run.validation is None:
        return None
    try:
        return Validation(method, data, run.validation)
    except EmptyData:
        return None
