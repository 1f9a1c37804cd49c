"""Personalised PageRank of single nodes on the largest real edge set at hand, who rated what in MovieLens 1M (9,923 nodes, 998,539 edges):
PowerWalk against the fastest of scipy's power iteration, scikit-network, igraph and networkx, all at RAG@100 >= 0.995.

A dense graph of few nodes, where a power iteration is cheap. Else as `ppr_100k`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

import _pagerank

NAME = "ppr-real"
UNIT = "queries per CPU second"
PEER = "scipy"
"""Whose power iteration was the fastest in all runs so far."""
HIGHER_IS_BETTER = True


def graph() -> Any:
    """People and items, an edge for every rating; the same on both sides."""
    from sartor.data.datasets import dataset
    from sartor.retrieve.graph.csr import Graph

    data = dataset("ml-1m").interactions()
    people, items = data.shape
    rows = np.repeat(np.arange(people, dtype=np.int64), data.lengths)
    return Graph.from_edges((rows, people + data.indices.astype(np.int64)), nodes=np.arange(people + items))


def ours() -> dict[str, Any]:
    return _pagerank.ours(graph())


def peer() -> dict[str, Any]:
    found = _pagerank.peer(graph(), PEER)
    print(json.dumps(found["size"]), file=sys.stderr)
    return found
