"""Several result lists for the same query made into one: by ranks, by normalised scores, or by a small ranker that has learned their weights.

    pool = Pool.of([words.search(queries, 100), vectors.search(embedded, 100)])
    indices, scores = pool.best(reciprocal_rank(pool), 10)

Lists count the same rows: two indexes that were built and changed alike, or item numbers of one catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numba
import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted
from sartor.parts.hashing import mix
from sartor.parts.topk import LONG

Normalise = Literal["min-max", "max", "z-score", "none"]


class ResultList(Protocol):
    """What `Hits` and `Ranking` have in common."""

    @property
    def indices(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Pool:
    """Every item that any list has for a query: one entry per (query, item), by query and then by item number."""

    indptr: np.ndarray
    """int64 [queries + 1], where each query's entries are."""
    items: np.ndarray
    """int32 [entries]."""
    scores: np.ndarray
    """float32 [entries, lists]; what a list does not hold has NaN."""
    ranks: np.ndarray
    """int32 [entries, lists], from 1; 0 where the list does not hold it."""
    floors: np.ndarray
    """float32 [queries, lists], the most that an item could have scored which a list does not hold: the score of its last place where the list
    is full, and 0 (or the last score, if lower) where it ended by itself."""

    @classmethod
    def of(cls, lists: Sequence[ResultList]) -> Pool:
        """From lists of the same queries, each with `indices` int [queries, k] (-1 where it ends) and `scores` [queries, k]."""
        if not lists:
            raise EmptyData("there are no lists to fuse", fix="give at least one")
        queries = {one.indices.shape[0] for one in lists}
        if len(queries) > 1:
            raise BadValue(f"the lists are for {sorted(queries)} queries", fix="give lists of the same queries")
        n = queries.pop()
        width = max(int(one.indices.max(initial=-1)) for one in lists) + 1
        keys, values, places, which = [], [], [], []
        floors = np.zeros((n, len(lists)), np.float32)
        for number, one in enumerate(lists):
            rows, columns = np.nonzero(one.indices >= 0)
            keys.append(rows * np.int64(width) + one.indices[rows, columns])
            values.append(one.scores[rows, columns].astype(np.float32))
            places.append((columns + 1).astype(np.int32))
            which.append(np.full(rows.size, number))
            if one.indices.shape[1]:
                full = one.indices[:, -1] >= 0
                last = np.min(np.where(one.indices >= 0, one.scores, np.inf), axis=1, initial=np.inf)
                floors[:, number] = np.where(full, last, np.minimum(last, 0))
        key, at = np.unique(np.concatenate(keys), return_inverse=True)
        scores, ranks = np.full((key.size, len(lists)), np.nan, np.float32), np.zeros((key.size, len(lists)), np.int32)
        column = np.concatenate(which)
        scores[at, column], ranks[at, column] = np.concatenate(values), np.concatenate(places)
        if int((ranks > 0).sum()) < at.size:
            raise BadValue("a list holds the same item twice for one query", fix="leave out the second")
        query, items = np.divmod(key, max(1, width))
        return cls(np.searchsorted(query, np.arange(n + 1)).astype(np.int64), items.astype(np.int32), scores, ranks, floors)

    def __len__(self) -> int:
        return int(self.indptr.size - 1)

    @property
    def queries(self) -> np.ndarray:
        """int64 [entries], the query of each."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    @property
    def filled(self) -> np.ndarray:
        """float32 [entries, lists]: scores, with the list's floor where it does not hold the item."""
        return np.where(np.isnan(self.scores), self.floors[self.queries], self.scores)

    def best(self, fused: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best entries of each query by a fused score [entries]: item numbers int32 [queries, k] (-1) and scores float32 (-inf)."""
        chosen = self.best_entries(fused, k)
        there = chosen >= 0
        found, scores = np.full(chosen.shape, -1, np.int32), np.full(chosen.shape, -np.inf, np.float32)
        found[there], scores[there] = self.items[chosen[there]], fused[chosen[there]]
        return found, scores

    def best_entries(self, fused: np.ndarray, k: int) -> np.ndarray:
        """int64 [queries, k], the entries with the largest scores, best first; -1 where a query has fewer.

        Among equal scores a hash of the item number decides: ids that come first in a file are no better for it.
        """
        if k < 1:
            raise ConfigError(f"k = {k}", fix="ask for at least 1")
        out = np.full((len(self), k), -1, np.int64)
        if k <= LONG:
            _best(self.indptr, np.ascontiguousarray(fused, np.float32), self._lots(), out)
            return out
        order = np.lexsort((self._lots(), -fused, self.queries))
        place = np.arange(order.size) - np.repeat(self.indptr[:-1], np.diff(self.indptr))
        keep = place < k
        out[self.queries[keep], place[keep]] = order[keep]
        return out

    def places(self, fused: np.ndarray, entries: np.ndarray) -> np.ndarray:
        """int32, shaped as `entries` [queries, k]: the place of each in its query's list by this score, from 1; 0 where an entry is -1."""
        out = np.zeros(entries.shape, np.int32)
        _places(self.indptr, np.ascontiguousarray(fused, np.float32), self._lots(), entries, out)
        return out

    def _lots(self) -> np.ndarray:
        return mix(self.items.astype(np.uint64), 0)

    def keep(self, entries: np.ndarray) -> Pool:
        """Only the entries where the mask (bool [entries]) holds; queries may become empty."""
        counts = np.bincount(self.queries[entries], minlength=len(self))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Pool(indptr, self.items[entries], self.scores[entries], self.ranks[entries], self.floors)

    def holds(self, indptr: np.ndarray, items: np.ndarray) -> np.ndarray:
        """bool [entries], whether the item is among those given for its query (`items[indptr[q]:indptr[q + 1]]`)."""
        width = 1 + max(int(self.items.max(initial=0)), int(items.max(initial=0)))
        given = np.repeat(np.arange(len(self), dtype=np.int64), np.diff(indptr)) * width + items
        return np.isin(self.queries * np.int64(width) + self.items, given)


def reciprocal_rank(pool: Pool, weights: Sequence[float] | None = None, *, k: float = 60.0) -> np.ndarray:
    """Sum over lists of weight / (k + rank), float32 [entries]; a list that does not hold an item adds nothing.

    Needs no scores, so that lists of any scale go together. Source: Cormack, Clarke and Büttcher, Reciprocal Rank Fusion Outperforms Condorcet
    and Individual Rank Learning Methods, SIGIR 2009.
    """
    if not 0 <= k < np.inf:
        raise ConfigError(f"k is {k}", fix="use a number of at least 0; 60 is usual")
    parts = np.where(pool.ranks > 0, 1 / (k + np.maximum(pool.ranks, 1)), 0)
    return (parts @ _weights(pool, weights)).astype(np.float32)


def normalised(pool: Pool, how: Normalise = "min-max") -> np.ndarray:
    """Scores of each list on one scale, per query: float32 [entries, lists], floors where a list does not hold an item.

    min-max: 0 for the floor (or the least score), 1 for the best. max: divided by the best. z-score: mean 0 and deviation 1 over the query's
    entries. none: as they are. A list whose scores are all alike says nothing and becomes 0.
    """
    if how not in ("min-max", "max", "z-score", "none"):
        raise ConfigError(f"there is no normalisation '{how}'", fix="use min-max, max, z-score or none")
    values, queries = pool.filled.astype(np.float64), pool.queries
    if how == "none" or not values.size:
        return values.astype(np.float32)
    there = np.flatnonzero(np.diff(pool.indptr))
    starts = pool.indptr[:-1][there]
    shift, scale = (np.zeros((len(pool), values.shape[1])) for _ in range(2))
    if how == "z-score":
        counts = np.diff(pool.indptr)[there, None]
        shift[there] = np.add.reduceat(values, starts) / counts
        scale[there] = np.sqrt(np.add.reduceat((values - shift[queries]) ** 2, starts) / counts)
    else:
        shift[there] = np.minimum.reduceat(values, starts) if how == "min-max" else 0
        scale[there] = np.maximum.reduceat(values, starts) - shift[there]
    inside = scale > 1e-12
    out = (values - shift[queries]) / np.where(inside, scale, 1)[queries]
    return np.where(inside[queries], out, 0).astype(np.float32)


def weighted(pool: Pool, weights: Sequence[float] | None = None, *, normalise: Normalise = "min-max") -> np.ndarray:
    """Sum over lists of weight times normalised score, float32 [entries]."""
    return (normalised(pool, normalise) @ _weights(pool, weights)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _best(indptr, fused, lots, out):  # type: ignore[no-untyped-def]
    k = out.shape[1]
    for query in range(out.shape[0]):
        filled = 0
        for entry in range(indptr[query], indptr[query + 1]):
            place = filled if filled < k else k - 1
            if filled == k and not _before(entry, out[query, place], fused, lots):
                continue
            while place > 0 and _before(entry, out[query, place - 1], fused, lots):
                out[query, place] = out[query, place - 1]
                place -= 1
            out[query, place] = entry
            filled += filled < k


@numba.njit(cache=True, nogil=True)
def _before(one, other, fused, lots):  # type: ignore[no-untyped-def]
    return fused[one] > fused[other] or (fused[one] == fused[other] and lots[one] < lots[other])


@numba.njit(cache=True, nogil=True)
def _places(indptr, fused, lots, entries, out):  # type: ignore[no-untyped-def]
    for query in range(entries.shape[0]):
        for at in range(entries.shape[1]):
            own = entries[query, at]
            if own >= 0:
                ahead = 0
                for entry in range(indptr[query], indptr[query + 1]):
                    ahead += _before(entry, own, fused, lots)
                out[query, at] = ahead + 1


def _weights(pool: Pool, weights: Sequence[float] | None) -> np.ndarray:
    given = np.ones(pool.scores.shape[1]) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (pool.scores.shape[1],) or not np.isfinite(given).all() or (given < 0).any():
        raise ConfigError(f"weights are {given.tolist()}", fix=f"give {pool.scores.shape[1]} numbers of at least 0, one per list")
    return given


@dataclass(kw_only=True, eq=False)
class FusionRanker:
    """Weights of some features, learned from queries of which it is known what was wanted; never negative.

    A linear score per entry; minimised is the mean over queries of the cross entropy between softmax(score) and the wanted entries, each of a
    query alike, plus l2 |w|^2: convex. Source: ListNet, Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007.
    """

    l2: float = 1e-4
    weights: np.ndarray | None = None
    """float64 [features], after `fit`."""

    def fit(self, features: np.ndarray, indptr: np.ndarray, wanted: np.ndarray, *, fixed: np.ndarray | None = None) -> FusionRanker:
        """Learn from entries grouped by query.

        Parameters
        ----------
        features: float [entries, features].
        indptr: int64 [queries + 1].
        wanted: bool [entries]; queries with no wanted entry, or none other, teach nothing and are left out.
        fixed: float [entries], a score that is added and not learned.

        Raises `EmptyData` when no query teaches anything.
        """
        from scipy.optimize import minimize

        lengths = np.diff(indptr)
        rows = np.repeat(np.arange(lengths.size), lengths)
        hits = np.bincount(rows, wanted, lengths.size)
        teaching = (hits > 0) & (hits < lengths)
        if not teaching.any():
            raise EmptyData("no query has both wanted and other entries", fix="give queries of which it is known what was wanted")
        keep = teaching[rows]
        x, y = np.asarray(features, np.float64)[keep], wanted[keep]
        base = np.zeros(len(x)) if fixed is None else np.asarray(fixed, np.float64)[keep]
        starts = np.concatenate([[0], np.cumsum(lengths[teaching])[:-1]])
        group = np.repeat(np.arange(starts.size), lengths[teaching])

        hits = hits[teaching]
        # What the loss gains by the wanted entries is linear in the weights.
        target = y / hits[group]
        towards, given = x.T @ target, base @ target

        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            score = x @ w + base
            top = np.maximum.reduceat(score, starts)
            parts = np.exp(score - top[group])
            sums = np.add.reduceat(parts, starts)
            value = np.log(sums).sum() + top.sum() - w @ towards - given
            slope = x.T @ (parts / sums[group]) - towards
            return float(value) / starts.size + self.l2 * float(w @ w), slope / starts.size + 2 * self.l2 * w

        found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=[(0, None)] * x.shape[1], options={"maxiter": 200})
        self.weights = np.asarray(found.x)
        return self

    def score(self, features: np.ndarray) -> np.ndarray:
        """float32 [entries]."""
        if self.weights is None:
            raise NotFitted("the ranker is not fitted", fix="call fit(features, indptr, wanted)")
        return (np.asarray(features) @ self.weights).astype(np.float32)
