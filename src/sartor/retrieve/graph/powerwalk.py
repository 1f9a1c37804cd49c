"""PowerWalk: personalised PageRank from short walks stored for every node, and a few exact rounds around the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, StaleIndex
from sartor.method import Ranking
from sartor.parts.topk import top_k
from sartor.retrieve.graph.csr import Graph
from sartor.retrieve.graph.ppr import PowerIteration, SeedBatch, Seeds, check_restart, found_share, seed_batch
from sartor.retrieve.graph.stored_walks import answers, repair_walks, stored_walks, walk_ends

BUDGETS = (1_000, 2_000, 4_000, 8_000, 12_000, 16_000, 24_000, 32_000, 64_000, 128_000, 256_000, 512_000)
ITERATIONS = 20
"""Walks per query, and up to how many power iterations, that `calibrate` tries."""
OUT_OF_ORDER = 5.0
"""What such a read costs relative to one in order: 5 to 9 ns against 1.0 to 1.7 on graphs of 2 million arcs (benchmarks/ppr_curve.py)."""
_BLOCK = 2_000_000
"""Scores held at once."""


@dataclass(frozen=True)
class Plan:
    """One way to answer, and what it was seen to give: `budget` walks, or so many power iterations where that is 0."""

    budget: int
    iterations: int
    goodness: float
    """Mean RAG@100 over the nodes that were tried."""
    cost: float
    """Edges read per query; one that is read out of order, as the index does with edges and visits, counts `OUT_OF_ORDER`."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nodes closest to the seeds of each query."""

    ranking: Ranking
    unknown: np.ndarray
    """int64 [queries]: seeds that were left out because the graph does not have them."""
    isolated: np.ndarray
    """bool [queries]: all seeds are without edges, so that the seeds themselves are the answer."""
    plan: str
    """How it was computed, and why."""


class PowerWalk:
    """An index for personalised PageRank: R walks from every node, every visit stored (the full path, not only where it ends).

    A query moves the seeds' weight along edges in rounds, exactly. A node that holds too little for that, or any weight left after the
    last round, is cashed in at once with the node's own stored walks, so that no weight is dropped. As many walks are read as the weight
    deserves: `budget` walks for the whole weight of 1, so that the cost depends on the budget and on the seeds' neighbourhood, not on the
    size of the graph. Above a precision that `calibrate` finds, plain power iteration is cheaper; `search` then takes that.

    Source: Liu et al., PowerWalk: Scalable Personalized PageRank via Random Walks with Vertex-Centric Decomposition, CIKM 2016. Differs from
    the paper in: weight below the threshold is cashed in, not dropped; walks are stored one by one, with lengths and first steps spread
    evenly instead of at random, so that any few of them are a fair sample and changes of the graph can be repaired; of a node's walks only
    as many are read as its weight asks for; a walk that ends at a node without edges is not sent back, but the result is scaled to sum 1,
    which is the same; queries of a batch run beside each other and do not share reads.
    """

    def __init__(
        self, graph: Graph, *, walks: int = 50, restart: float = 0.15, rounds: int = 4, budget: int = 16_000, seed: int = 0,
        visits: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Build the index.

        Parameters
        ----------
        walks: R, stored per node; about 23 bytes each at the usual restart.
        restart: probability to start over, before each step.
        rounds: of exact spreading, at most.
        budget: walks read per query, where `search` is not told how good it must be.
        seed: of all random draws.
        visits: int32 [nodes, visits per node], where the walks have been made already, by `stored_walks` in parts.
        """
        check_restart(restart)
        if walks < 1 or rounds < 0 or budget < 1:
            raise ConfigError(f"walks {walks}, rounds {rounds}, budget {budget}", fix="use at least 1 walk, a budget of at least 1, rounds >= 0")
        self.walks, self.restart, self.rounds, self.budget, self.seed = walks, restart, rounds, budget, seed
        self.ends = walk_ends(walks, restart)
        self.curve: tuple[Plan, ...] = ()
        """From `calibrate`: ways to answer, cheapest first."""
        self._take(graph)
        self.visits = stored_walks(graph, self.ends, seed) if visits is None else self._checked(visits)

    @property
    def nbytes(self) -> int:
        """Bytes of the stored walks."""
        return self.visits.nbytes

    def _take(self, graph: Graph) -> None:
        self.graph, self.version, self.fingerprint = graph, graph.version, graph.fingerprint
        self._exact: PowerIteration | None = None

    # --- answers

    def check(self, graph: Graph) -> None:
        """Raise `StaleIndex` unless the index is of just this graph."""
        if graph.version != self.version or graph.fingerprint != self.fingerprint:
            raise StaleIndex(
                f"the walks are of graph version {self.version} ({self.fingerprint}), the graph is version {graph.version} ({graph.fingerprint})",
                fix="call repair(graph), or build the index again",
            )

    def search(
        self, seeds: Sequence[Seeds], k: int = 10, *, graph: Graph | None = None, exclude_seeds: bool = False, goodness: float | None = None
    ) -> Nearest:
        """The k nodes closest to the seeds of each query.

        Parameters
        ----------
        seeds: one per query: node ids, or {node id: weight}. Those that the graph does not have are left out and counted.
        k: how many; fewer are given where fewer were reached.
        graph: the caller's graph, to be sure that the index is of this one.
        exclude_seeds: leave the seeds themselves out.
        goodness: RAG@100 wanted; the cheapest way that reached it in `calibrate` is taken. None: the index, with its own budget.
        """
        if graph is not None:
            self.check(graph)
        if not isinstance(k, int | np.integer) or k < 1:
            raise ConfigError(f"k is {k!r}", fix="ask for a whole number of nodes, at least 1")
        batch = seed_batch(self.graph, seeds)
        plan = None if goodness is None else self.plan(goodness)
        n = len(self.graph)
        width, size = min(k, n), max(1, _BLOCK // max(1, n))
        indices, scores = np.empty((len(batch), width), np.int32), np.empty((len(batch), width), np.float32)
        for start in range(0, len(batch), size):
            own = _part(batch, start, min(start + size, len(batch)))
            out = [np.unique(own.nodes[own.indptr[row] : own.indptr[row + 1]]).astype(np.int32) for row in range(len(own))] if exclude_seeds else None
            found = self._scores(own, plan)
            indices[start : start + size], scores[start : start + size] = top_k(found, width, left_out=out, seed=self.seed)
        nothing = scores <= 0
        indices[nothing], scores[nothing] = -1, -np.inf
        alone = np.add.reduceat(self.graph.degrees[batch.nodes], batch.indptr[:-1]) == 0 if len(batch) else np.empty(0, bool)
        return Nearest(Ranking(indices, scores, self.graph.ids), batch.unknown, alone, self._words(plan))

    def scores(self, seeds: Sequence[Seeds] | SeedBatch, *, budget: int | None = None) -> np.ndarray:
        """float32 [queries, nodes], each summing to 1, from the index; 0 where nothing was seen."""
        batch = seeds if isinstance(seeds, SeedBatch) else seed_batch(self.graph, seeds)
        return self._scores(batch, Plan(self.budget if budget is None else budget, 0, 0.0, 0.0))

    def fingerprints(self, nodes: np.ndarray) -> np.ndarray:
        """float32 [nodes, n]: personalised PageRank of single nodes from all their stored walks alone."""
        batch = SeedBatch(np.arange(nodes.size + 1), np.asarray(nodes, np.int64), np.ones(nodes.size), np.zeros(nodes.size, np.int64))
        return self._spread(batch, rounds=0, budget=float(self.walks))[0]

    def _scores(self, batch: SeedBatch, plan: Plan | None) -> np.ndarray:
        if plan is not None and not plan.budget:
            return self.exact.scores(batch, tolerance=0.0, iterations=plan.iterations).astype(np.float32)
        return self._spread(batch, rounds=self.rounds, budget=float(self.budget if plan is None else plan.budget))[0]

    def _spread(self, batch: SeedBatch, *, rounds: int, budget: float) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 [queries, nodes], and how many edges and visits were read int64 [queries]."""
        return answers(self.graph, batch, self.visits, self.ends, restart=self.restart, rounds=rounds, budget=budget)

    # --- which way

    @property
    def exact(self) -> PowerIteration:
        """Power iteration on the same graph."""
        if self._exact is None:
            self._exact = PowerIteration(self.graph, restart=self.restart)
        return self._exact

    def calibrate(self, *, queries: int = 24, k: int = 100) -> tuple[Plan, ...]:
        """Measure, on some nodes at random, what each way to answer gives and reads; `search(goodness=...)` chooses by it."""
        rng = np.random.default_rng(self.seed)
        nodes = rng.choice(np.flatnonzero(self.graph.degrees > 0), queries).astype(np.int64)
        batch = SeedBatch(np.arange(queries + 1), nodes, np.ones(queries), np.zeros(queries, np.int64))
        goodness, truth = np.zeros((queries, ITERATIONS)), np.empty((queries, len(self.graph)))
        for row in range(queries):
            early, truth[row] = self.exact.after_each(batch, row, upto=ITERATIONS, tolerance=1e-6)
            goodness[row] = found_share(early, np.broadcast_to(truth[row], early.shape), k)
        one = float(self.graph.arcs + len(self.graph))
        plans = [Plan(0, number + 1, float(goodness[:, number].mean()), (number + 1) * one) for number in range(ITERATIONS)]
        for budget in BUDGETS:
            found, read = self._spread(batch, rounds=self.rounds, budget=float(budget))
            plans.append(Plan(budget, 0, float(found_share(found, truth, k).mean()), OUT_OF_ORDER * float(read.mean())))
        self.curve = tuple(sorted(plans, key=lambda plan: plan.cost))
        return self.curve

    def plan(self, goodness: float) -> Plan:
        """The cheapest way that reached a RAG@100 when it was calibrated (which happens now if it has not); else power iteration to 1e-9."""
        if not 0 < goodness <= 1:
            raise ConfigError(f"the goodness is {goodness:g}", fix="use 0 < goodness <= 1; 0.995 is usual")
        for plan in self.curve or self.calibrate():
            if plan.goodness >= goodness:
                return plan
        iterations = int(np.ceil(np.log(1e-9) / np.log(1 - self.restart)))
        return Plan(0, iterations, 1.0, iterations * float(self.graph.arcs))

    def _words(self, plan: Plan | None) -> str:
        if plan is None:
            return f"{self.budget:,} walks of the index"
        way = f"{plan.budget:,} walks of the index" if plan.budget else f"{plan.iterations} power iterations"
        return f"{way}: the cheapest that gave {plan.goodness:.4f} when calibrated, at the cost of {plan.cost:,.0f} edges in order"

    # --- change and storage

    def repair(self, graph: Graph) -> int:
        """Make the index one of a changed graph; returns how many nodes' walks were looked at again.

        Only walks that pass a node whose edges changed are walked again, each with its own random numbers: the result is the index that
        building anew would give, bit for bit. Nodes may have been added, and none may have been taken away. A calibration is kept.
        """
        n, old = len(graph), len(self.graph)
        if n < old or not graph.ids.ids.head(old).equals(self.graph.ids.ids, check_names=False):
            raise StaleIndex(f"the graph's first {old} nodes are not those of the index", fix="make the new graph with Graph.changed, or build anew")
        changed = self.graph.rows_changed(graph)
        visits = np.full((n, int(self.ends[-1])), n, np.int32)
        visits[:old] = np.where(self.visits == old, n, self.visits)
        changed[old:] = True
        self._take(graph)
        self.visits = visits
        return int(repair_walks(graph, self.ends, self.seed, changed, visits).size)

    def save(self, file: str | Path) -> Path:
        """Write the walks, without the graph, as one safetensors file, all or nothing."""
        facts = {name: getattr(self, name) for name in ("walks", "restart", "rounds", "budget", "seed", "version", "fingerprint")}
        facts["curve"] = [[plan.budget, plan.iterations, plan.goodness, plan.cost] for plan in self.curve]
        _storage.write_atomically(Path(file), _storage.to_bytes({"visits": self.visits}, {"kind": "powerwalk", **facts}))
        return Path(file)

    @classmethod
    def load(cls, file: str | Path, graph: Graph, *, mmap: bool = True) -> PowerWalk:
        """The reverse of `save`, for the same graph: raises `StaleIndex` for another, `FileProblem` or `CorruptFile` for a bad file."""
        path = Path(file)
        if not path.is_file():
            raise FileProblem("there is no such file", fix="give the file that save() wrote", file=path)
        needs = ("kind", "walks", "restart", "rounds", "budget", "seed", "version", "fingerprint", "curve")
        arrays, facts = _storage.map_file(path, needs=needs) if mmap else _storage.from_bytes(path.read_bytes(), needs=needs)
        if facts["kind"] != "powerwalk":
            raise CorruptFile(f"this holds a {facts['kind']}, not stored walks", fix="give the file that PowerWalk.save() wrote", file=path)
        return cls.of(graph, arrays["visits"], facts)

    @classmethod
    def of(cls, graph: Graph, visits: np.ndarray, facts: dict) -> PowerWalk:  # type: ignore[type-arg]
        """An index from stored walks and the facts that `save` writes."""
        index = cls.__new__(cls)
        for name in ("walks", "restart", "rounds", "budget", "seed"):
            setattr(index, name, facts[name])
        index.ends = walk_ends(index.walks, index.restart)
        index.curve = tuple(Plan(*one) for one in facts.get("curve", ()))
        index._take(graph)
        index.version, index.fingerprint = facts["version"], facts["fingerprint"]
        index.check(graph)
        index.visits = index._checked(visits)
        return index

    def _checked(self, visits: np.ndarray) -> np.ndarray:
        """Compiled loops do not look at bounds: a damaged file must end here."""
        n = len(self.graph)
        fits = visits.shape == (n, self.ends[-1]) and visits.dtype == np.int32
        if not fits or (visits.size and not 0 <= visits.min() <= visits.max() <= n):
            raise CorruptFile("the stored walks are not of this graph's nodes", fix="build the index again")
        return visits


def _part(batch: SeedBatch, start: int, stop: int) -> SeedBatch:
    first, last = batch.indptr[start], batch.indptr[stop]
    return SeedBatch(batch.indptr[start : stop + 1] - first, batch.nodes[first:last], batch.weights[first:last], batch.unknown[start:stop])
