"""Chooses per request how to search among what a filter leaves: no way is best everywhere, and only some are safe.

- exact over the allowed: gathers the allowed vectors. Always right; costs grow with how many there are.
- inverted file with bitmap: looks at cells until the rest can hardly help. Cheap when much is allowed.
- search, then filter: looks at everything near and drops what is not allowed. Cheap when nearly everything is allowed.
- a walk through LeanVec's graph, when it was asked for (`graph=True`): several times cheaper where much is allowed, for memory and building time.

Costs per row are measured at build. How much of the index a query will look at is known from the calibration; for a filter it is also
measured, on the first queries of a batch, because not only the share of allowed items decides but also where they lie. A query with fewer
results than there are allowed items is answered again exactly.

Source of the problem and of its benchmark: Iff et al., Benchmarking Filtered Approximate Nearest Neighbor Search on Transformer-based
Embedding Vectors, 2025.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from sartor.errors import ConfigError
from sartor.method import learned
from sartor.retrieve.bitmaps import Bitmap
from sartor.retrieve.calibration import SHARES, K
from sartor.retrieve.exact import FEW
from sartor.retrieve.inverted import EVERYTHING, InvertedIndex
from sartor.retrieve.leanvec import LeanVecIndex

Strategy = Literal["auto", "exact", "inverted", "filter-after"]
PILOT = 8
"""Queries of a batch that show how much a filter makes them look at."""
SURE = 1.25
"""How many times as much exact search may cost: it is certain, the rest is expected."""
COSTS = ("compare", "gather", "product", "test", "query", "look", "walk", "short")
"""Of `costs_`: one allowed vector found and compared by itself; copied; compared in a product; one bit tested; one query's order of cells; one
vector compared where it lies in its cell, which is several times cheaper than finding it by its row; one compared along a walk; one by its short
code, without a walk."""


@dataclass(kw_only=True, eq=False)
class PlannedIndex(InvertedIndex):
    """An inverted file that also searches exactly, and takes for each request the cheapest way that reaches the calibrated recall."""

    kind: ClassVar[str] = "planned"
    strategy: Strategy = "auto"
    """Another one fixes the way: for comparisons."""
    overfetch: int | None = None
    """Of search-then-filter: how many items are fetched for each one asked for; None means as the share of allowed items needs."""

    graph: bool = False
    """Whether to build LeanVec's two levels beside the cells, and to walk where that is expected to be the cheapest."""

    costs_: np.ndarray = learned()
    """float64 [8], seconds, in the order of `COSTS`; infinite for what is not there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy not in ("auto", "exact", "inverted", "filter-after"):
            raise ConfigError(f"there is no strategy '{self.strategy}'", fix="use auto, exact, inverted or filter-after")

    def _ready(self) -> None:
        super()._ready()
        if self.graph:
            self._walker = LeanVecIndex(metric=self.metric, recall=self.recall, seed=self.seed)
            biases = self._own_biases()
            self._walker._build(self._vectors.array[self._places.array], None if biases is None else biases[self._places.array])
            self._number()
        self.costs_ = self._measure()

    def _add(self, vectors: np.ndarray, biases: np.ndarray | None) -> None:
        super()._add(vectors, biases)
        if self._walker is not None:
            self._walker._add(vectors, biases)
            self._number()

    def _number(self) -> None:
        """The graph has the rows of this index, and no ids of its own."""
        assert self._walker is not None
        self._walker._ids, self._walker.dim = range(len(self._numbers.array)), self._vectors.array.shape[1]

    def _search(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, budget: float | None) -> tuple[np.ndarray, np.ndarray, str]:
        if self.strategy == "exact":
            return *self._exactly(queries, k, allowed), f"exact over {count} items: as fixed"
        if self.strategy == "filter-after":
            return self._filter_after(queries, k, allowed, count, "as fixed")
        if self.strategy == "inverted" or budget is not None:
            return super()._search(queries, k, allowed, count, budget)
        slack, q = self._slack(count), len(queries)
        if count <= k or not np.isfinite(slack[0]):
            return *self._exactly(queries, k, allowed), f"exact over {count} items: {'all are asked for' if count <= k else 'the only safe way'}"
        if self._exact_cost(q, count) < q * self.costs_[4]:
            return *self._exactly(queries, k, allowed), f"exact over {count} items: cheaper than any look at cells"
        costs = self._costs(q, k, count)
        best = min(costs, key=lambda way: costs[way])
        why = "expected ms per query: " + ", ".join(f"{way} {1000 * cost / q:.3g}" for way, cost in sorted(costs.items(), key=lambda one: one[1]))
        if best == "exact":
            return *self._exactly(queries, k, allowed), f"exact over {count} items; {why}"
        if best == "filter-after":
            return self._filter_after(queries, k, allowed, count, why)
        if best == "graph" and self._walker is not None:
            found, scores, plan = self._walker._search(queries, k, allowed, count, None)
            return *self._guarded(found, scores, queries, k, allowed), f"{plan}; {why}"
        pilot = min(PILOT, q) if allowed is not None else q
        found, scores, work = self._scan(queries[:pilot], k, allowed, slack, share=count / self.rows)
        plan = f"inverted file with bitmap, slack {slack[0]:.2g}, {count} of {self.rows} allowed; {why}"
        if pilot < q:
            looked = work.mean(0)
            rest = queries[pilot:]
            if self._exact_cost(len(rest), count) / SURE < len(rest) * self._scan_cost(looked):
                more = self._exactly(rest, k, allowed)
                plan = f"exact over {count} items, after {pilot} queries had looked at {looked[0] / self.rows:.0%} of the index; {why}"
            else:
                more = self._scan(rest, k, allowed, slack, share=count / self.rows)[:2]
            found, scores = np.concatenate([found, more[0]]), np.concatenate([scores, more[1]])
        return *self._guarded(found, scores, queries, k, allowed), plan

    def _filter_after(self, queries: np.ndarray, k: int, allowed: Bitmap | None, count: int, why: str) -> tuple[np.ndarray, np.ndarray, str]:
        """Search without the filter for more than k, then drop what it forbids."""
        fetched = min(self.rows, k * self.overfetch if self.overfetch else self._fetched(k, count))
        found, scores, _ = self._scan(queries, fetched, None, self._slack(self.rows))
        plan = f"search for {fetched}, then filter; {why}"
        if allowed is not None:
            words = allowed.words
            bits = (words[found >> 6] >> (found & 63).astype(np.uint64)) & np.uint64(1)
            fits = bits.astype(bool) & (found >= 0)
            order = np.argsort(~fits, axis=1, kind="stable")[:, :k]
            found, scores = (np.take_along_axis(one, order, 1) for one in (np.where(fits, found, -1), np.where(fits, scores, -np.inf)))
        found, scores = found[:, :k].astype(np.int32), scores[:, :k].astype(np.float32)
        return *self._guarded(found, scores, queries, k, allowed), plan

    # --- costs

    def _fetched(self, k: int, count: int) -> int:
        expected = k * self.rows / count
        return int(np.ceil(expected + 3 * np.sqrt(expected) * (count < self.rows)))

    def _costs(self, q: int, k: int, count: int) -> dict[str, float]:
        """Expected seconds of each way that is open, exact search's by `SURE`."""
        share = count / self.rows
        looked = np.array([np.interp(np.log(share), np.log(SHARES[::-1]), self.looked_at_[::-1, at]) for at in (0, 1)]) * self.rows
        looked[1] = min(looked[1], count)
        out = {"exact": self._exact_cost(q, count) / SURE, "inverted": q * self._scan_cost(looked)}
        if 0.5 <= share < 1 and np.isfinite(self.slack_[0, 0]):
            # More fetched means a worse last one, and that more is looked at: as if each were asked for by itself.
            out["filter-after"] = q * self._scan_cost(self.looked_at_[0] * self.rows) * max(1.0, (self._fetched(k, count) / k) ** 0.5) * 1.1
        if self._walker is not None:
            compared, scanned = self._walker.compared(k, count)
            out["graph"] = q * (self.costs_[4] / 2 + (self.costs_[7] if scanned else self.costs_[6]) * compared)
        return out

    def _exact_cost(self, q: int, count: int) -> float:
        compare, gather, product = self.costs_[:3]
        return q * count * compare if q < FEW else count * (gather + q * product)

    def _scan_cost(self, looked: np.ndarray) -> float:
        return self.costs_[4] + looked[0] * self.costs_[3] + looked[1] * self.costs_[5]

    def _measure(self) -> np.ndarray:
        """Seconds of the least things a search does, each the best of some runs."""
        n = min(self.rows, 20_000)
        q, k = 32, min(10, n)
        sample = np.arange(0, self.rows, max(1, self.rows // n))[:n].astype(np.int32)
        queries = np.ascontiguousarray(self._vectors.array[sample[:q]])
        rows = Bitmap.of_rows(sample, self.rows)
        compare = _best(lambda: self._exactly(queries[:1], k, rows)) / n
        few, many = (_best(lambda m=m: self._exactly(queries[:m], k, rows)) / n for m in (FEW, len(queries)))  # type: ignore[misc]
        product = max((many - few) / max(1, len(queries) - FEW), compare / 10)
        gather = max(few - FEW * product, 0.0)
        query = _best(lambda: self._scan(queries, k, None, EVERYTHING, 0)) / len(queries)
        test = max(_best(lambda: self._scan(queries, k, Bitmap.empty(self.rows), EVERYTHING)) / len(queries) - query, 0.0) / self.rows
        look = max(_best(lambda: self._scan(queries[:8], k, None, EVERYTHING), 3) / 8 - query, 0.0) / self.rows
        walk, short = np.inf, np.inf
        if (walker := self._walker) is not None:
            walk = _best(lambda: walker._search(queries, K, None, self.rows, None), 3) / len(queries) / walker.compared(K, self.rows)[0]
            short = _best(lambda: walker._scan(queries, k, rows, k)) / len(queries) / n
        return np.array([compare, gather, product, test, query, look, walk, short])

    def _arrays(self) -> dict[str, np.ndarray]:
        walker = {} if self._walker is None else {f"graph.{name}": array for name, array in self._walker._arrays().items()}
        return super()._arrays() | {"costs": self.costs_} | walker

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        super()._restore(arrays)
        costs = arrays["costs"]
        # An index of before had no cost of its own for looking, and no graph.
        self.costs_ = costs if costs.size == len(COSTS) else np.array([*costs, costs[0], np.inf, np.inf])
        if self.graph:
            self._walker = LeanVecIndex(metric=self.metric, recall=self.recall, seed=self.seed)
            self._walker._restore({name[6:]: array for name, array in arrays.items() if name.startswith("graph.")})
            self._number()

    _walker: LeanVecIndex | None = learned(None)


def _best(call: Callable[[], Any], runs: int = 7) -> float:
    call()
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)
