"""Generated graphs with known communities, for claim checks, benchmarks and tests."""

from __future__ import annotations

import numpy as np

from sartor.retrieve.graph.csr import Graph


def block_graph(
    nodes: int, edges: int, *, communities: int = 50, inside: float = 0.8, exponent: float = 2.2, seed: int = 0
) -> tuple[Graph, np.ndarray]:
    """An undirected degree-corrected block graph with power-law degrees, and each node's community int32 [nodes].

    Both ends of an edge are drawn in proportion to a node's propensity, a Pareto variable with this exponent of the density; the second
    end, with probability `inside`, from the first one's community. Drawing goes on until there are so many distinct edges.
    Source: Karrer and Newman, Stochastic blockmodels and community structure in networks, 2011.
    """
    rng = np.random.default_rng(seed)
    community = rng.integers(0, communities, nodes).astype(np.int32)
    propensity = (1 - rng.random(nodes)) ** (-1 / (exponent - 1))
    # As many as the square root: one node must not be everybody's neighbour.
    propensity = np.minimum(propensity, np.sqrt(nodes) * 2)
    order = np.argsort(community, kind="stable")
    running = np.cumsum(propensity[order])
    bounds = np.concatenate([[0.0], running])[np.searchsorted(community[order], np.arange(communities + 1))]
    keys = np.empty(0, np.int64)
    while keys.size < edges:
        draws = 2 * (edges - keys.size) + 1000
        first = order[np.minimum(np.searchsorted(running, rng.random(draws) * running[-1]), nodes - 1)]
        near = rng.random(draws) < inside
        low = np.where(near, bounds[community[first]], 0.0)
        high = np.where(near, bounds[community[first] + 1], running[-1])
        second = order[np.minimum(np.searchsorted(running, low + rng.random(draws) * (high - low)), nodes - 1)]
        a, b = np.minimum(first, second).astype(np.int64), np.maximum(first, second).astype(np.int64)
        fresh = np.unique((a * nodes + b)[a != b])
        fresh = fresh[~np.isin(fresh, keys)]
        keys = np.concatenate([keys, rng.permutation(fresh)[: edges - keys.size]])
    return Graph.from_edges((keys // nodes, keys % nodes), nodes=np.arange(nodes)), community
