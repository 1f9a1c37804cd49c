"""Personalised PageRank: precision against speed of every way to answer, and how costs grow with the graph. Prints the tables of docs/graphs.md.

    python benchmarks/ppr_curve.py [curve] [growth]

One thread, CPU-seconds, queries one by one for the 100 best nodes. RAG@100 against a solution to 1e-6.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

import _pagerank
import ppr_100k
import ppr_real
from sartor.parts.threads import limit
from sartor.retrieve.graph.csr import Graph
from sartor.retrieve.graph.generated import block_graph
from sartor.retrieve.graph.powerwalk import BUDGETS, PowerWalk
from sartor.retrieve.graph.ppr import PowerIteration

WALKS = (10, 50, 100)
"""Stored per node."""
ITERATIONS = (3, 4, 5, 6, 8, 10, 12, 15, 20)
EDGES = 1_000_000
Best = Callable[[int], np.ndarray]
"""From a seed node to the 100 best."""


def measured(best: Best, nodes: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """RAG@100, and queries per CPU-second after one that warms up."""
    best(int(nodes[0]))
    start = time.process_time()
    found = [best(int(node)) for node in nodes]
    rate = nodes.size / (time.process_time() - start)
    return float(np.mean([_pagerank.share(own[own >= 0], one) for own, one in zip(found, truth)])), rate


def by_index(index: PowerWalk) -> Best:
    return lambda node: index.search([[node]], _pagerank.K).ranking.indices[0]


def by_iteration(exact: PowerIteration, iterations: int) -> Best:
    def best(node: int) -> np.ndarray:
        scores = exact.scores([[node]], tolerance=0.0, iterations=iterations)[0]
        return np.argpartition(-scores, _pagerank.K)[: _pagerank.K]

    return best


def built(graph: Graph, walks: int) -> tuple[PowerWalk, float]:
    start = time.process_time()
    return PowerWalk(graph, walks=walks, restart=_pagerank.RESTART), time.process_time() - start


def curve(name: str, graph: Graph) -> None:
    """Every way on one graph, and above which precision power iteration wins."""
    nodes, truth = _pagerank.prepared(graph)
    exact = PowerIteration(graph, restart=_pagerank.RESTART)
    print(f"\n{name}: {len(graph):,} nodes, {graph.arcs // 2:,} edges\n\n| way | RAG@100 | queries per CPU-second |\n|---|---|---|")
    ways: list[tuple[float, float, bool]] = []
    indexes = []
    for walks in WALKS:
        index, seconds = built(graph, walks)
        indexes.append((walks, index.nbytes / 1e6, seconds))
        for budget in BUDGETS:
            index.budget = budget
            ways.append((*measured(by_index(index), nodes, truth), True))
            print(f"| R = {walks}, {budget:,} walks read | {ways[-1][0]:.5f} | {ways[-1][1]:,.0f} |", flush=True)
    for iterations in ITERATIONS:
        ways.append((*measured(by_iteration(exact, iterations), nodes, truth), False))
        print(f"| {iterations} power iterations | {ways[-1][0]:.5f} | {ways[-1][1]:,.0f} |", flush=True)
    print("\n| walks per node | MB | build CPU-seconds |\n|---|---|---|")
    for walks, megabytes, seconds in indexes:
        print(f"| {walks} | {megabytes:.0f} | {seconds:.1f} |")
    print("\n| RAG@100 at least | index | power iteration | chosen by `search` |\n|---|---|---|---|")
    index, _ = built(graph, 50)
    for wanted in (0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999):
        fastest = [max((rate for goodness, rate, walk in ways if walk is kind and goodness >= wanted), default=0.0) for kind in (True, False)]
        plan = index.plan(wanted)
        chosen = f"{plan.budget:,} walks" if plan.budget else f"{plan.iterations} power iterations"
        print(f"| {wanted} | {' | '.join(f'{one:,.0f}' if one else '-' for one in fastest)} | {chosen} |", flush=True)


def growth() -> None:
    """1, 2 and 4 times the edges, with as many more nodes and without."""
    print("\n| nodes | edges | build CPU-seconds | MB | walks | index: RAG@100 | per CPU-second | iterations | RAG@100 | per CPU-second |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for nodes_of, edges_of in ((1, 1), (2, 2), (4, 4), (1, 2), (1, 4)):
        graph = block_graph(100_000 * nodes_of, EDGES * edges_of, seed=1)[0]
        nodes, truth = _pagerank.prepared(graph, queries=16)
        index, seconds = built(graph, 50)
        row = [f"{len(graph):,}", f"{graph.arcs // 2:,}", f"{seconds:.1f}", f"{index.nbytes / 1e6:.0f}"]
        for budget in BUDGETS:
            index.budget = budget
            goodness, rate = measured(by_index(index), nodes, truth)
            if goodness >= _pagerank.GOODNESS:
                break
        row += [f"{budget:,}", f"{goodness:.4f}", f"{rate:,.0f}"]
        for iterations in ITERATIONS:
            goodness, rate = measured(by_iteration(index.exact, iterations), nodes, truth)
            if goodness >= _pagerank.GOODNESS:
                break
        row += [str(iterations), f"{goodness:.4f}", f"{rate:,.1f}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    parts = sys.argv[1:] or ["curve", "growth"]
    with limit(1):
        by_index(PowerWalk(block_graph(400, 1500)[0], walks=4))(0)
        if "curve" in parts:
            curve("Generated", ppr_100k.graph())
            curve("MovieLens 1M", ppr_real.graph())
        if "growth" in parts:
            growth()
