"""PowerWalk over who chose what: items close to a person's own, by personalised PageRank from stored walks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sartor.method import Run, States, learned
from sartor.recommend._base import ItemRecommender, PersonalArrays
from sartor.retrieve.graph.csr import Graph
from sartor.retrieve.graph.powerwalk import PowerWalk
from sartor.retrieve.graph.ppr import PowerIteration, SeedBatch

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


@dataclass(kw_only=True, eq=False)
class PowerWalkRecommender(ItemRecommender):
    """An item scores how often a walker is there who starts at the person's own items and goes to people who chose them and on.

    New people cost nothing: their items are the seeds, and they need not be in the graph. The answer leans to popular items, as every
    walk does. Without a state it is PageRank of the whole graph.

    Source: Liu et al., PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric Decomposition, CIKM 2016; see
    `sartor.retrieve.graph.powerwalk` for what differs.

    State: `items` int32 [n], the seeds, and `weights` float32 [n], their weights.
    """

    walks: int = 50
    """Stored per item and person."""
    restart: float = 0.15
    """Probability to start over before each step: the higher, the closer to the person's own items."""
    rounds: int = 4
    """Of exact spreading around the seeds, at most."""
    budget: int = 16_000
    """Walks read per request."""

    indptr_: np.ndarray = learned()
    """int64 [items + people + 1], of the graph: items first."""
    indices_: np.ndarray = learned()
    """int32 [2 x events]."""
    visits_: np.ndarray = learned()
    """int32 [items + people, visits]: the stored walks."""
    population_scores_: np.ndarray = learned()
    """float32 [items]: PageRank of the whole graph, the answer to somebody without a history."""

    keeps: ClassVar[tuple[str, ...]] = ("weights",)

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        people, items = data.shape
        rows = np.repeat(np.arange(people, dtype=np.int64), data.lengths)
        graph = Graph.from_edges((data.indices.astype(np.int64), items + rows), nodes=np.arange(items + people))
        index = PowerWalk(graph, walks=self.walks, restart=self.restart, rounds=self.rounds, budget=self.budget, seed=self.seed)
        self.indptr_, self.indices_, self.visits_ = graph.indptr, graph.indices, index.visits
        linked = np.flatnonzero(graph.degrees > 0)
        everywhere = SeedBatch(np.array([0, linked.size]), linked, np.full(linked.size, 1 / linked.size), np.zeros(1, np.int64))
        exact = PowerIteration(graph, restart=self.restart).scores(everywhere, tolerance=1e-9)
        self.population_scores_ = exact[0, :items].astype(np.float32)
        self.__dict__["index"] = index

    @cached_property
    def index(self) -> PowerWalk:
        """The walks with their graph."""
        graph = Graph.from_arrays(self.indptr_, self.indices_)
        facts = {name: getattr(self, name) for name in ("walks", "restart", "rounds", "budget", "seed")}
        return PowerWalk.of(graph, self.visits_, {**facts, "version": graph.version, "fingerprint": graph.fingerprint})

    def _encode(self, histories: Interactions) -> PersonalArrays:
        return {}

    def _score(self, states: States, items: np.ndarray | None) -> np.ndarray:
        out = np.tile(self.population_scores_, (len(states), 1))
        own = [(row, state) for row, state in enumerate(states) if state is not None and state["items"].size and state["weights"].sum() > 0]
        if own:
            indptr = np.concatenate([[0], np.cumsum([state["items"].size for _, state in own])]).astype(np.int64)
            seeds = np.concatenate([state["items"] for _, state in own]).astype(np.int64)
            weights = np.concatenate([state["weights"] / state["weights"].sum() for _, state in own]).astype(np.float64)
            batch = SeedBatch(indptr, seeds, weights, np.zeros(len(own), np.int64))
            out[[row for row, _ in own]] = self.index.scores(batch)[:, : len(self.items_)]
        return out if items is None else out[:, items]
