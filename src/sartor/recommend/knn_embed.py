"""Several interests per person, each searched for on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.errors import BadValue, ConfigError
from sartor.method import Exclude, Ranking, Run, State, States, learned
from sartor.parts.topk import top_k
from sartor.recommend._base import SCORES_IN_MEMORY, ItemRecommender, PersonalArrays, VectorRecommender, _is_list
from sartor.recommend._interests import Mixtures, budgets, merge, smooth, units
from sartor.recommend.als import ALS
from sartor.represent.clustering import spherical_kmeans

if TYPE_CHECKING:
    from sartor.data.population import Population

SAME = 1e-5
"""A neighbour this near in cosine has the person's own vector: it is taken for the person, who is no neighbour of herself."""


@dataclass(frozen=True, eq=False)
class InterestRanking(Ranking):
    """A ranking that knows which interest asked for each item."""

    interests: np.ndarray
    """int32 [people, k], the cluster (as in `KNNEmbed.item_clusters_`) whose query found the item; -1 where there is no item."""

    def to_frame(self, people: Sequence[Any] | None = None) -> pl.DataFrame:
        """Long form: person, rank (1 is best), item, score, interest."""
        return super().to_frame(people).with_columns(interest=self.interests[self.indices >= 0])


@dataclass(kw_only=True, eq=False)
class KNNEmbed(ItemRecommender):
    """A person as a mixture over clusters of items, smoothed with the mixtures of similar people; each cluster is searched for with its
    own vector, for as many items as its share is worth.

    For retrieving many candidates where people have more interests than the base's vectors have room for: it needs no training beyond
    the base's. Measured in a world of 60 topics (claims/recommend/knn_embed.py): at 8 dimensions recall@100 is 0.45 without smoothing and
    0.43 with 0.2, against 0.39 of tuned ALS alone; at 32 dimensions 0.67, 0.65 and 0.64. Smoothing finds interests that people have not
    shown yet (0.28 against 0.26) and varies lists. It loses where one vector separates interests already (ml-100k, 16 ALS factors:
    recall@50 is 0.50 against ALS's 0.56).

    The person's query for a cluster comes from the person's own items in it, never the person's one vector for all. Lists
    interleave the clusters: the r-th item of a cluster scores share / r. `recommend` returns an `InterestRanking`, whose `interests` says
    which cluster asked for each item. Every query reaches the whole catalogue and skips what is seen or taken, so places stay empty only
    where catalogue or candidates end.

    Smoothing happens at request time, from mixtures of the people of `fit` that the model holds: after `forget(people)` no answer draws
    on them any more. What the base learned from them stays until it is fitted again.

    Source: El-Kishky et al., kNN-Embed: Locally Smoothed Embedding Mixtures for Multi-interest Candidate Retrieval, 2022. Its formulas for
    clusters, smoothing and budgets are our reading of the abstract.

    State: `vector` float32 [dim] (the base's), `interests` int32 [c], `shares` float32 [c], `queries` float32 [c, dim], c <= `interests`;
    `items` int32 [n] and what the base keeps per item. Without history, c is 0 and the mean mixture answers (noted as `mean_mixture`).
    """

    base: VectorRecommender = field(default_factory=ALS)
    """Where the vectors come from. One that is not fitted is fitted first, and again with every `fit`."""
    clusters: int = 40
    """Of item directions; 10 to 60 for some thousand items."""
    neighbours: int = 50
    """Similar people, by the cosine of the base's vectors."""
    smoothing: float = 0.2
    """Share of the neighbours' mixtures in a person's: 0 is the raw mixture, 1 leaves nothing of the person's own."""
    interests: int = 10
    """Clusters kept per person, the largest."""
    query: Literal["mean", "fold-in"] = "mean"
    """A cluster is searched for with the mean of the person's item vectors in it; or with the base's own vector of somebody who has only
    these items, which costs a fold-in per interest, but is right for bases with item biases (BPR), too."""

    item_clusters_: np.ndarray = learned()
    """int32 [items], the cluster of every item; -1 for those whose vector is zero (never seen in training)."""
    people_: IdMap = learned()
    """People of `fit` with a mixture."""
    people_vectors_: np.ndarray = learned()
    """float32 [people, dim], of length 1."""
    mixture_indptr_: np.ndarray = learned()
    """int64 [people + 1]: whose rows of the next three are whose."""
    mixture_clusters_: np.ndarray = learned()
    """int32 [rows]."""
    mixture_shares_: np.ndarray = learned()
    """float32 [rows], sum to 1 for each person."""
    mixture_queries_: np.ndarray = learned()
    """float32 [rows, dim]."""
    mean_shares_: np.ndarray = learned()
    """float32 [clusters], the mean mixture: the population's answer."""
    mean_queries_: np.ndarray = learned()
    """float32 [clusters, dim]."""
    fits_base_: bool = learned(False)

    @property
    def keeps(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the base keeps of each event."""
        return self.base.keeps

    def _fit(self, population: Population, run: Run) -> None:
        if not isinstance(self.base, VectorRecommender):
            raise ConfigError(f"base is {type(self.base).__name__}, which has no item vectors", fix="use one such as ALS, BPR or LightGCN")
        if self.clusters < 1 or self.neighbours < 0 or not 0 <= self.smoothing <= 1 or self.interests < 1:
            raise ConfigError(
                f"clusters {self.clusters}, neighbours {self.neighbours}, smoothing {self.smoothing}, interests {self.interests}",
                fix="use clusters >= 1, neighbours >= 0, smoothing from 0 to 1, interests >= 1",
            )
        if self.query not in ("mean", "fold-in"):
            raise ConfigError(f"there is no query '{self.query}'", fix="use mean or fold-in")
        if self.fits_base_ or not self.base.fingerprint_:
            self.base.fit(population, validation=run.validation, progress=run.progress, checkpoint=run.checkpoint)
            self.fits_base_ = True
        self.items_ = self.base.items_
        self._learn(population.interactions(items=self.items_), population, run)

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        vectors = self.base.item_vectors_
        usable = np.flatnonzero(np.abs(vectors).sum(axis=1) > 0)
        if self.clusters > usable.size:
            raise ConfigError(f"{self.clusters} clusters for {usable.size} items", fix="use fewer clusters")
        self.item_clusters_ = np.full(len(vectors), -1, np.int32)
        self.item_clusters_[usable] = spherical_kmeans(vectors[usable], self.clusters, seed=self.seed)[0]
        vectors, mixtures = self._mixtures(data)
        there = np.flatnonzero(np.diff(mixtures.indptr))
        self._keep(IdMap(data.people.ids.gather(there), name=data.people.name), units(vectors[there]), mixtures.take(there))

    def forget(self, people: Sequence[Any]) -> None:
        """Take people of `fit` out of all that the model holds of single people: neighbours' mixtures and the mean mixture.

        States of others stay valid. Raises `UnknownId`; a saved copy of the model must be saved again.
        """
        self.check_fitted()
        gone = np.array([self.people_.number(one) for one in people], np.int64)
        left = np.setdiff1d(np.arange(len(self.people_)), gone)
        mixtures = Mixtures(self.mixture_indptr_, self.mixture_clusters_, self.mixture_shares_, self.mixture_queries_)
        self._keep(IdMap(self.people_.ids.gather(left), name=self.people_.name), self.people_vectors_[left], mixtures.take(left))

    def _keep(self, people: IdMap, vectors: np.ndarray, mixtures: Mixtures) -> None:
        self.people_, self.people_vectors_ = people, vectors
        self.mixture_indptr_, self.mixture_clusters_ = mixtures.indptr, mixtures.clusters
        self.mixture_shares_, self.mixture_queries_ = mixtures.shares, mixtures.queries
        total = np.bincount(self.mixture_clusters_, self.mixture_shares_, self.clusters)
        sums = np.zeros((self.clusters, vectors.shape[1]))
        np.add.at(sums, self.mixture_clusters_, self.mixture_shares_[:, None] * self.mixture_queries_)
        self.mean_shares_ = (total / max(len(people), 1)).astype(np.float32)
        self.mean_queries_ = (sums / np.maximum(total, 1e-12)[:, None]).astype(np.float32)

    def _mixtures(self, histories: Interactions) -> tuple[np.ndarray, Mixtures]:
        """The base's vectors [people, dim], and everybody's own mixture."""
        from scipy.sparse import csr_matrix

        vectors = np.asarray(self.base._encode(histories)["vector"], np.float32)
        matrix = histories.matrix()
        row, cluster = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), self.item_clusters_[matrix.indices]
        row, cluster, item = row[cluster >= 0], cluster[cluster >= 0], matrix.indices[cluster >= 0]
        keys, place, counts = np.unique(row * self.clusters + cluster, return_inverse=True, return_counts=True)
        of = keys // self.clusters
        order = np.lexsort((keys, -counts, of))
        rank = np.arange(order.size) - np.searchsorted(of[order], of[order])
        order = order[rank < self.interests]
        indptr = np.searchsorted(of[order], np.arange(len(vectors) + 1)).astype(np.int64)
        totals = np.bincount(of[order], counts[order], len(vectors))
        if self.query == "mean":
            sums = csr_matrix((np.ones(item.size, np.float32), (place, item)), shape=(keys.size, len(self.items_))) @ self.base.item_vectors_
            queries = sums[order] / counts[order, None]
        else:
            queries = self._fold_ins(histories, keys[order])
        shares = (counts[order] / totals[of[order]]).astype(np.float32)
        clusters = (keys[order] % self.clusters).astype(np.int32)
        lengths = np.linalg.norm(vectors, axis=1)
        bad = np.flatnonzero((np.diff(indptr) > 0) & ~((lengths > 0) & np.isfinite(lengths)))
        if bad.size:
            who = histories.people.ids[int(bad[0])]
            raise BadValue(f"person {who!r} has a zero vector; cosine undefined", fix="fit the base again, or leave the person out")
        return vectors, Mixtures(indptr, clusters, shares, np.asarray(queries, np.float32))

    def _fold_ins(self, histories: Interactions, keys: np.ndarray) -> np.ndarray:
        """The base's vectors [keys, dim] of somebody with one person's events in one cluster only; a key is person x clusters + cluster."""
        order = np.argsort(keys)
        of_event = histories.rows.astype(np.int64) * self.clusters + self.item_clusters_[histories.indices]
        place = np.minimum(np.searchsorted(keys, of_event, sorter=order), max(keys.size - 1, 0))
        events = np.flatnonzero((self.item_clusters_[histories.indices] >= 0) & (keys[order][place] == of_event)) if keys.size else np.empty(0, int)
        row = order[place[events]]
        events = events[np.argsort(row, kind="stable")]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=keys.size))]).astype(np.int64)
        parts = (getattr(histories, name)[events] for name in ("indices", "values", "weights", "times"))
        return np.asarray(self.base._encode(Interactions(IdMap(range(keys.size)), histories.items, indptr, *parts))["vector"], np.float32)

    def _encode(self, histories: Interactions) -> PersonalArrays:
        vectors, found = self._mixtures(histories)
        spans = [found.own(row) for row in range(len(vectors))]
        return {
            "vector": vectors, "interests": [found.clusters[own] for own in spans], "shares": [found.shares[own] for own in spans],
            "queries": [found.queries[own] for own in spans],
        }  # fmt: skip

    def _states(self, histories: Interactions, before: States, examples: Sequence[int], unknown: int) -> Iterator[State]:
        for state in super()._states(histories, before, examples, unknown):
            yield state if state["interests"].size else replace(state, notes={**state.notes, "mean_mixture": True})

    def mixtures(self, states: States) -> tuple[np.ndarray, np.ndarray]:
        """Smoothed mixtures: shares float32 [states, clusters], which sum to 1, and queries float32 [states, clusters, dim]."""
        dim = self.mean_queries_.shape[1]
        shares, sums = np.zeros((len(states), self.clusters), np.float32), np.zeros((len(states), self.clusters, dim), np.float32)
        known = np.array([row for row, state in enumerate(states) if state is not None and state["interests"].size], np.int64)
        others = np.setdiff1d(np.arange(len(states)), known)
        shares[others], sums[others] = self.mean_shares_, self.mean_queries_ * self.mean_shares_[:, None]
        k = min(self.neighbours, len(self.people_))
        smoothing = np.float32(self.smoothing if k else 0)
        for row in known:
            own = states[row]
            assert own is not None
            shares[row, own["interests"]] = own["shares"]
            sums[row, own["interests"]] = own["shares"][:, None] * own["queries"]
        if smoothing and known.size:
            vectors = units(np.stack([states[row].arrays["vector"] for row in known]))
            near, cosine = top_k(vectors @ self.people_vectors_.T, k + 1, seed=self.seed)
            itself = cosine[:, 0] >= 1 - SAME
            near = np.where(itself[:, None], np.roll(near, -1, axis=1), near)[:, :k]
            if k == len(self.people_):
                # Nobody is left to take the place of the person herself.
                near[itself, -1] = -1
            smooth(
                known, near, smoothing, self.mixture_indptr_, self.mixture_clusters_, self.mixture_shares_, self.mixture_queries_, shares, sums
            )  # fmt: skip
        return shares, np.divide(sums, shares[:, :, None], out=sums, where=shares[:, :, None] > 0)

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        """The best interest's share times inner product. `recommend` does not sort by this: it gives every interest its budget."""
        vectors = self.base.item_vectors_ if items is None else self.base.item_vectors_[items]
        out = np.empty((len(states), len(vectors)), np.float32)
        for start in range(0, len(states), step := self._step(len(vectors))):
            shares, queries = self.mixtures(states[start : start + step])
            for row, (share, query) in enumerate(zip(shares, queries, strict=True), start):
                used = share > 0
                out[row] = ((share[used, None] * query[used]) @ vectors.T).max(axis=0)
        return out

    def recommend(self, states: States, k: int = 10, *, exclude: Exclude = "seen", candidates: Sequence[Any] | None = None) -> InterestRanking:
        """See `Recommender.recommend`; the ranking also names the interest behind each item."""
        for state in states:
            self.check_state(state)
        self.check_fitted()
        if k < 1:
            raise ConfigError(f"k is {k}", fix="ask for at least 1 item")
        left_out = self._left_out(states, exclude)
        each = candidates is not None and len(candidates) > 0 and _is_list(candidates[0])
        if each and len(candidates or ()) != len(states):
            raise ConfigError(f"{len(candidates or ())} candidate lists for {len(states)} states", fix="give one list for all, or one per state")
        shared = None if candidates is None or each else np.unique(self._known(candidates))
        indices = np.full((len(states), min(k, len(self.items_) if shared is None else shared.size)), -1, np.int32)
        scores, interests = np.full(indices.shape, -np.inf, np.float32), np.full(indices.shape, -1, np.int32)
        step = 1 if each else self._step(len(self.items_))
        for start in range(0, len(states), step):
            rows = slice(start, min(start + step, len(states)))
            pool = np.unique(self._known(candidates[start])) if each and candidates is not None else shared
            indices[rows], scores[rows], interests[rows] = self._retrieve(
                states[rows], indices.shape[1], pool, None if left_out is None else left_out[rows]
            )
        return InterestRanking(indices, scores, self.items_, interests)

    def _step(self, items: int) -> int:
        return max(1, SCORES_IN_MEMORY // max(1, items * min(self.clusters, 8), self.clusters * self.mean_queries_.shape[1]))

    def _retrieve(
        self, states: States, k: int, pool: np.ndarray | None, left_out: list[np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shares, queries = self.mixtures(states)
        worth = budgets(shares, k)
        row, cluster = np.nonzero(worth)
        order = np.lexsort((cluster, -shares[row, cluster], row))
        row, cluster = row[order], cluster[order]
        vectors = self.base.item_vectors_ if pool is None else self.base.item_vectors_[pool]
        # k deep each, so that what other interests took first never leaves a place empty.
        lists, _ = top_k(
            queries[row, cluster] @ vectors.T, k, left_out=None if left_out is None else [left_out[one] for one in row], columns=pool,
            seed=self.seed, width=len(self.items_),
        )  # fmt: skip
        shape = (len(states), k)
        found, score, interest = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int32)
        merge(row, cluster, lists, worth, shares, len(self.items_), found, score, interest)
        order = np.argsort(-score, axis=1, kind="stable")
        score = np.take_along_axis(score, order, 1)
        for place in range(1, k):
            # Interests of equal shares take turns by number: their items must not look tied.
            score[:, place] = np.minimum(score[:, place], np.nextafter(score[:, place - 1], np.float32(-np.inf)))
        return np.take_along_axis(found, order, 1), score, np.take_along_axis(interest, order, 1)
