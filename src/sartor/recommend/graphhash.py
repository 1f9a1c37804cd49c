"""Small embedding tables: people, and items, that are close in the interaction graph share a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError
from sartor.method import State, States, learned
from sartor.parts import shared_rows
from sartor.parts.factors import Factors
from sartor.parts.fold_in import fold_in
from sartor.parts.graph import BipartiteGraph, propagated_people
from sartor.parts.hashing import keys
from sartor.recommend._base import PersonalArrays, _after
from sartor.recommend._pairwise import PairwiseRecommender
from sartor.represent.communities import Communities, louvain, louvain_of_size

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Hasher = Literal["graph+frequency", "graph", "double-graph", "frequency", "modulo", "double", "lsh", "full"]
HASHERS: tuple[Hasher, ...] = get_args(Hasher)


@dataclass(kw_only=True, eq=False)
class GraphHash(PairwiseRecommender):
    """Matrix factorisation or LightGCN whose tables have a tenth to a third of the rows, assigned by communities of the graph.

    For catalogues and audiences whose tables do not fit. In a sparse world with communities it keeps 86% of the full table's Recall@20 with 15%
    of its rows, where frequency hashing keeps 9%; on ml-100k with 28% of the rows 63%, or nearly all with 2 graph layers. The default
    `graph+frequency` (half the rows for the most frequent ids, communities for the others) is our addition, and beats plain `graph`
    except, on some seeds, where rows are very few (claims/recommend/graphhash.py).

    Source: Wu et al., GraphHash, WWW 2025. Differs from the paper in: each side may use a clustering of its own resolution, so that both
    use their rows; what to do with ids that have no edge, people who come later, and the private residual are ours.

    State: `bucket` int32 [1 or 2], the row or rows, and `residual` float32 [residual_dim], beside the items; 68 bytes at the default.
    """

    hasher: Hasher = "graph+frequency"
    """modulo, frequency, double (two hashes summed), lsh, double-graph (community and hash summed) and full are for comparison."""
    resolution: float = 5.0
    """Of the clustering, when no number of rows is asked for; the rows that it gives are then every hasher's."""
    people_rows: int = 0
    """Rows of the people's table; 0: as many as `resolution` gives."""
    item_rows: int = 0
    """Rows of the items' table; 0: as many as `resolution` gives."""
    buckets: Literal["<=", "exact"] = "<="
    """A clustering cannot give every number of communities: take the most that fit, or insist."""
    residual_dim: int = 16
    """Directions of a person's own correction to the shared row, along the items' main axes; 0 is none."""
    layers: int = 0
    """0 is matrix factorisation; 2 or 3 LightGCN."""

    people_: IdMap = learned()
    """Those with a row at `fit`."""
    people_buckets_: np.ndarray = learned()
    """int32 [people] or [people, 2]."""
    item_buckets_: np.ndarray = learned()
    """int32 [items] or [items, 2]."""
    people_table_: np.ndarray = learned()
    """float32 [people rows, embedding_dim]."""
    item_table_: np.ndarray = learned()
    """float32 [item rows, embedding_dim]."""
    item_communities_: np.ndarray = learned()
    """int64 [items]: the row of the people's table that belongs to an item's community; -1 where no people are in it. Empty without."""
    axes_: np.ndarray = learned()
    """float32 [residual_dim, embedding_dim], orthonormal."""
    by_rule_: list[int] = learned()
    """How many people and items had no training edge, and got a row by modulo."""
    resolutions_: list[float] = learned()
    """Of the people's and the items' clustering; empty without."""

    def assignment(self) -> dict[str, np.ndarray]:
        """The rows of people and items, int32, in the order of `people_` and `items_`: for any other embedding layer."""
        self.check_fitted()
        return {"people": self.people_buckets_, "items": self.item_buckets_}

    # --- assigning rows

    def _check(self) -> None:
        super()._check()
        if self.hasher not in HASHERS:
            raise ConfigError(f"there is no hasher '{self.hasher}'", fix=f"use one of {', '.join(HASHERS)}")
        if bool(self.people_rows) != bool(self.item_rows) or min(self.people_rows, self.item_rows) < 0 or self.buckets not in ("<=", "exact"):
            asked = f"people_rows {self.people_rows}, item_rows {self.item_rows}, buckets {self.buckets!r}"
            raise ConfigError(asked, fix="give both numbers of rows, or neither; buckets is '<=' or 'exact'")
        if not 0 <= self.residual_dim <= self.embedding_dim:
            raise ConfigError(f"residual_dim is {self.residual_dim}", fix=f"use 0 to embedding_dim ({self.embedding_dim})")

    def _factors(self, data: Interactions, population: Population, graph: BipartiteGraph) -> Factors:
        self.people_ = data.people
        edges = graph.edges.astype(np.float32)
        self.item_communities_, self.resolutions_ = np.empty(0, np.int64), []
        sizes = (self.people_rows, self.item_rows)
        if not self.people_rows and self.hasher != "full":
            given = louvain(edges, resolution=self.resolution, seed=self.seed)
            sizes = (given.used(given.rows), given.used(given.columns))
        no_edge = [np.diff(graph.indptr) == 0, graph.item_degrees == 0]
        self.by_rule_ = [int(one.sum()) for one in no_edge]
        sides = []
        for side, (rows, lonely) in enumerate(zip(sizes, no_edge, strict=True)):
            assigned = self._assign(edges, side, rows)
            count = int(assigned.max()) + 1 if self.hasher == "full" or "graph" in self.hasher else rows
            # No neighbour to ask: spread over all rows, as modulo would.
            assigned[lonely] = np.flatnonzero(lonely).reshape(-1, *[1] * (assigned.ndim - 1)) % count
            sides.append((assigned, count))
        (people, people_rows), (items, item_rows) = sides
        self.people_buckets_, self.item_buckets_ = people.astype(np.int32), items.astype(np.int32)
        tables = (shared_rows.HashedTable(people, people_rows, self.embedding_dim), shared_rows.HashedTable(items, item_rows, self.embedding_dim))
        return Factors(*tables, graph=graph, layers=self.layers)

    def _assign(self, edges: csr_matrix, side: int, rows: int) -> np.ndarray:
        """Rows int64 [ids] or [ids, 2] of one side: 0 people, 1 items."""
        counts = np.diff(edges.indptr) if side == 0 else np.bincount(edges.indices, minlength=edges.shape[1])
        ids, seed = counts.size, 2 * self.seed + side
        match self.hasher:
            case "full":
                return np.arange(ids)
            case "modulo":
                return shared_rows.modulo(ids, rows)
            case "frequency":
                return shared_rows.frequency(counts, rows)
            case "double":
                return shared_rows.double(ids, rows, seed)
            case "lsh":
                return shared_rows.locality_sensitive(edges if side == 0 else edges.T.tocsr(), rows, seed)
        own = rows // 2 if self.hasher == "graph+frequency" else 0
        communities = self._communities(edges, side, rows - own)
        labels, others = (communities.rows, communities.columns) if side == 0 else (communities.columns, communities.rows)
        assigned, taken = _renumbered(labels)
        if side == 0:
            row_of = np.full(int(max(labels.max(), others.max())) + 2, -1, np.int64)
            row_of[labels] = assigned
            row_of[-1] = -1
            self.item_communities_ = row_of[others]
        self.resolutions_ = [*self.resolutions_, communities.resolution]
        assigned = np.maximum(assigned, 0)
        if own:
            return shared_rows.with_own_rows(counts, assigned, taken, own)
        if self.hasher == "double-graph":
            return np.stack([assigned, shared_rows.universal(np.arange(ids), taken, seed)], 1)
        return assigned

    def _communities(self, edges: csr_matrix, side: int, wanted: int) -> Communities:
        if not self.people_rows and self.hasher != "graph+frequency":
            return louvain(edges, resolution=self.resolution, seed=self.seed)
        return louvain_of_size(edges, wanted, side=("rows", "columns")[side], exact=self.buckets == "exact", seed=self.seed)

    # --- people

    def _export(self, network: Factors, graph: BipartiteGraph) -> None:
        super()._export(network, graph)
        people, items = network.people, network.items
        assert isinstance(people, shared_rows.HashedTable)
        assert isinstance(items, shared_rows.HashedTable)
        self.people_table_, self.item_table_ = (one.weight.detach().cpu().numpy().copy() for one in (people, items))
        self.axes_ = np.linalg.svd(self.item_vectors_, full_matrices=False)[2][: self.residual_dim].astype(np.float32)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        fresh = evidence.interactions(self.items_)
        history = _after(state, fresh) if state is not None else fresh
        if evidence.person is not None:
            history = replace(history, people=IdMap([evidence.person], name="person"))
        return next(self._states(history, [state], [len(fresh)], fresh.unknown))

    def _encode(self, histories: Interactions) -> PersonalArrays:
        own = histories.matrix()
        indptr, indices = own.indptr.astype(np.int64), own.indices.astype(np.int32)
        buckets = self._buckets(histories.people, own)
        shared = self._shared(buckets, indptr, indices)
        start = np.zeros(len(self.axes_), np.float32)
        residual = fold_in(self.item_vectors_, indptr, indices, start, offset=shared, basis=self.axes_, **self._fold_in_settings())
        return {"bucket": buckets.reshape(len(buckets), -1), "residual": residual}

    def _buckets(self, people: IdMap, histories: csr_matrix) -> np.ndarray:
        """Rows of people: those of `fit`, else by rule: where most of their items' people are, else a hash of the id."""
        known = self.people_.numbers(people.ids)
        rows, two = len(self.people_table_), self.people_buckets_.ndim == 2
        hashed = (keys(people.ids) % np.uint64(rows)).astype(np.int32)
        by_rule = hashed
        if self.hasher == "lsh":
            by_rule = shared_rows.locality_sensitive(histories.astype(bool).astype(np.float32), rows, 2 * self.seed).astype(np.int32)
        elif self.item_communities_.size:
            by_rule = _majority(histories, self.item_communities_, rows, hashed)
        both = np.stack([by_rule, hashed], 1) if two else by_rule
        return np.where((known >= 0).reshape(-1, *[1] * two), self.people_buckets_[np.maximum(known, 0)], both).astype(np.int32)

    def _shared(self, buckets: np.ndarray, indptr: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """float32 [people, embedding_dim]: what a person's rows, and the graph, say before anything private."""
        layer0 = self.people_table_[buckets.reshape(len(buckets), -1)].sum(1)
        return propagated_people(layer0, indptr, indices, self.neighbour_vectors_, self.layers) if self.layers else layer0

    def stack(self, states: States) -> np.ndarray:
        out = np.repeat(self.population_vector_[None], len(states), 0)
        own = [row for row, state in enumerate(states) if state is not None]
        given = [state for state in states if state is not None]
        if not given:
            return out
        histories = [np.unique(state["items"]) for state in given]
        indptr = np.concatenate([[0], np.cumsum([one.size for one in histories])]).astype(np.int64)
        shared = self._shared(np.stack([state["bucket"] for state in given]), indptr, np.concatenate(histories))
        out[own] = shared + np.stack([state["residual"] for state in given]) @ self.axes_
        return out

    def _fold_in_settings(self) -> dict[str, Any]:
        settings = super()._fold_in_settings()
        return settings if self.residual_dim else {**settings, "steps": 0}


def _renumbered(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels as 0..n-1 without gaps (-1 stays), and n."""
    used = np.unique(labels[labels >= 0])
    return np.where(labels >= 0, np.searchsorted(used, labels), -1), int(used.size)


def _majority(histories: csr_matrix, row_of: np.ndarray, rows: int, otherwise: Sequence[int] | np.ndarray) -> np.ndarray:
    """int32 [people]: the row that most of a person's items point to; the smallest of equals; `otherwise` where none points anywhere."""
    from scipy.sparse import csr_matrix

    items = np.flatnonzero(row_of >= 0)
    votes = (
        histories.astype(bool).astype(np.float32) @ csr_matrix((np.ones(items.size, np.float32), (items, row_of[items])), shape=(row_of.size, rows))
    ).tocsr()
    best = np.asarray(votes.argmax(1)).ravel()
    return np.where(np.diff(votes.indptr) > 0, best, otherwise).astype(np.int32)
