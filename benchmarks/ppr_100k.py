"""Personalised PageRank of single nodes on a generated graph of 100,000 nodes and 1,000,000 edges with power-law degrees: PowerWalk against
the fastest of scipy's power iteration, scikit-network, igraph and networkx, all at RAG@100 >= 0.995.

In queries per CPU-second, the 100 best nodes found. `quality` is RAG@100. Ours chooses its own way, by a calibration on other
nodes (`search(goodness=...)`). The index is built before; its seconds and megabytes are in `size`, the speeds of all contenders on stderr.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import _pagerank

NAME = "ppr-100k"
UNIT = "queries per CPU second"
PEER = "scipy"
"""Whose power iteration was the fastest in all runs so far."""
HIGHER_IS_BETTER = True
NODES, EDGES = 100_000, 1_000_000


def graph() -> Any:
    """The same on both sides."""
    from sartor.retrieve.graph.generated import block_graph

    return block_graph(NODES, EDGES, seed=1)[0]


def ours() -> dict[str, Any]:
    return _pagerank.ours(graph())


def peer() -> dict[str, Any]:
    found = _pagerank.peer(graph(), PEER)
    print(json.dumps(found["size"]), file=sys.stderr)
    return found
