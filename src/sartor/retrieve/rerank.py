"""Any result list, put in one person's order: what another search, another service or a hand-made page gave, moved by a state.

ranker = Reranker(model)                                    # any fitted recommender: model.adapt(evidence) is the person
mine = ranker.rerank([["Heat", "Ronin", "Babe"]], [state])  # ids, best first; or a Ranking, or Hits with their scores
mine[0], mine.places[0]                                     # her order, and where each item stood before
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl

from sartor.data.ids import IdMap, as_ids, id_column
from sartor.errors import BadValue, ConfigError, NotFitted
from sartor.method import Ranking, State, States
from sartor.retrieve.fusion import FusionRanker, Pool, normalised
from sartor.retrieve.hits import Hits

Results = Ranking | Hits | Sequence[Sequence[Any]]
LARGEST = 100.0
"""Weight that `fit` learns at most: both sides have a deviation of 1 in a list, so that a taste of this weight decides alone."""
Score = Callable[[States], np.ndarray]
"""States -> float32 [states, items], None standing for nobody."""


class Taste(Protocol):
    """What a recommender over a fixed catalogue is to a re-ranker."""

    items_: IdMap

    def score(self, states: States, items: Sequence[Any] | None = None) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Reranked(Ranking):
    """A ranking that knows where its items stood before."""

    places: np.ndarray
    """int32 [lists, k], the place of each item in the list that was given, from 1; 0 where there is no item."""


def lift(score: Score, pool: Pool, states: States) -> np.ndarray:
    """float32 [entries]: an item's score for the entry's person less its score for nobody; 0 without a state, and for one that holds nothing.

    Everybody's preference is in whatever order the list has already; the rest is the person's own.
    """
    telling = {id(state): state for state in states if state is not None and state["items"].size}
    if not telling:
        return np.zeros(pool.items.size, np.float32)
    more = score(list(telling.values())) - score([None])
    row = {key: at for at, key in enumerate(telling)}
    rows = np.array([row.get(id(state), -1) for state in states])[pool.queries]
    return np.where(rows >= 0, more[rows, pool.items], np.float32(0))


class Reranker:
    """Lists re-ranked by taste: score = the list's own + strength * weight * lift, each brought to mean 0 and deviation 1 within the list.

    Parameters
    ----------
    taste: a fitted recommender; the lift of an item that it does not know is 0.
    weight: of the lift against the list's own order; 1 gives both the same say, `fit` learns it, up to 100.
    """

    def __init__(self, taste: Taste, *, weight: float = 1.0) -> None:
        if not getattr(taste, "fingerprint_", "") or not hasattr(taste, "score"):
            raise NotFitted(f"{type(taste).__name__} is not a fitted recommender with scores", fix="fit it first")
        if not 0 <= weight < np.inf:
            raise ConfigError(f"weight is {weight}", fix="use a number of at least 0")
        self.taste, self.weight = taste, float(weight)

    def fit(self, results: Results, states: States, wanted: Sequence[Sequence[Any]]) -> Reranker:
        """Learn the weight from lists of which it is known what was taken (`wanted`: ids, one list per result list).

        Raises `EmptyData` when no list has both.
        """
        pool, ids = self._pool(results, states)
        if len(wanted) != len(pool):
            raise ConfigError(f"{len(wanted)} lists of what was wanted for {len(pool)} results", fix="give one per list")
        given = [ids.numbers(own) if len(own) else np.empty(0, np.int32) for own in wanted]
        given = [own[own >= 0] for own in given]
        indptr = np.concatenate([[0], np.cumsum([own.size for own in given])]).astype(np.int64)
        hits = pool.holds(indptr, np.concatenate([*given, np.empty(0, np.int32)]))
        parts = self._parts(pool, ids, states)
        learned = FusionRanker().fit(parts, pool.indptr, hits).weights
        assert learned is not None
        # Only the ratio orders a list. Where the list's own order says nothing of what was wanted it still decides among equals.
        self.weight = float(min(learned[1] / max(learned[0], 1e-6), LARGEST))
        return self

    def rerank(self, results: Results, states: States, k: int | None = None, *, strength: float = 1.0) -> Reranked:
        """The k best of each list for its state (all of it by default). At strength 0 and without a state a list stays as it is.

        Raises `ConfigError`, `BadValue` (an item twice in one list), `StateMismatch`.
        """
        if not 0 <= strength <= 1:
            raise ConfigError(f"strength is {strength!r}", fix="use a number from 0 to 1")
        pool, ids = self._pool(results, states)
        parts = self._parts(pool, ids, states)
        fused = parts[:, 0].astype(np.float64) + strength * self.weight * parts[:, 1]
        # Places before decide among equals, so that nothing moves without a reason.
        key = np.empty(fused.size, np.float32)
        key[np.lexsort((pool.ranks[:, 0], -fused))] = -np.arange(fused.size)
        width = k if k is not None else int(np.diff(pool.indptr).max(initial=0))
        if width < 1:
            return Reranked(np.empty((len(pool), 0), np.int32), np.empty((len(pool), 0), np.float32), ids, np.empty((len(pool), 0), np.int32))
        chosen = pool.best_entries(key, width)
        there = chosen >= 0
        indices, places, scores = (np.full(chosen.shape, fill, kind) for fill, kind in ((-1, np.int32), (0, np.int32), (-np.inf, np.float32)))
        indices[there], places[there], scores[there] = pool.items[chosen[there]], pool.ranks[chosen[there], 0], fused[chosen[there]]
        return Reranked(indices, scores, ids, places)

    def _parts(self, pool: Pool, ids: IdMap, states: States) -> np.ndarray:
        """float32 [entries, 2]: the list's own scores and the lift, normalised per list."""
        known = self.taste.items_.numbers(ids.ids)

        def score(some: States) -> np.ndarray:
            found = self.taste.score(some)
            return np.where(known >= 0, found[:, np.maximum(known, 0)], np.float32(0))

        moved = lift(score, pool, states)
        both = Pool(pool.indptr, pool.items, np.column_stack([pool.scores[:, 0], moved]), np.repeat(pool.ranks, 2, 1), np.repeat(pool.floors, 2, 1))
        return normalised(both, "z-score")

    def _pool(self, results: Results, states: States) -> tuple[Pool, IdMap]:
        scored = results.scores if isinstance(results, Ranking | Hits) else None
        lists = [list(results[row]) for row in range(len(results))]
        if len(states) != len(lists) or any(state is not None and not isinstance(state, State) for state in states):
            raise ConfigError(f"{len(states)} states for {len(lists)} lists", fix="give one state per list; None leaves it as it is")
        if not isinstance(results, Ranking | Hits) and any(isinstance(one, str) for one in results):
            raise ConfigError("results is one list of items", fix="give a list of lists: [[...]]")
        flat = id_column([one for own in lists for one in own], name="item") if any(lists) else pl.Series("item", [], dtype=pl.Int64)
        ids = IdMap.of(as_ids(flat, pl.Int64() if flat.dtype.is_integer() else pl.String()).rename("item"))
        width = max(map(len, lists), default=0)
        indices, scores = np.full((len(lists), width), -1, np.int32), np.full((len(lists), width), -np.inf, np.float32)
        numbers = ids.numbers(flat) if len(ids) else np.empty(0, np.int32)
        ends = np.cumsum([len(own) for own in lists]) if lists else np.empty(0, np.int64)
        for row, (own, end) in enumerate(zip(lists, ends, strict=True)):
            indices[row, : len(own)] = numbers[end - len(own) : end]
            # A list without scores falls as the gains of its places do in NDCG.
            scores[row, : len(own)] = 1 / np.log2(np.arange(2, len(own) + 2)) if scored is None else scored[row, : len(own)]
        if not np.isfinite(scores[indices >= 0]).all():
            raise BadValue("a score of the results is not finite", fix="give lists with finite scores, or only ids")
        return Pool.of([Hits(indices, scores, [], "given")]), ids
