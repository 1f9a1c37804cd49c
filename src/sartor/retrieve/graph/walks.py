"""Random walks over a graph, whole, in parts, and repaired after a change; compiled, on all threads.

Every walk draws from a stream of its own, named by the seed and the walk's number: the same walks whatever the number of threads, and a
walk whose nodes did not change is the same walk after any change of the graph.
"""

from __future__ import annotations

import numpy as np

from sartor.parts.random_walks import random_walks
from sartor.retrieve.graph.csr import Graph


def walks(
    graph: Graph,
    starts: np.ndarray,
    length: int,
    *,
    restart: float = 0.0,
    decay: float = 0.0,
    backtrack: bool = True,
    seed: int = 0,
    numbers: np.ndarray | None = None,
) -> np.ndarray:
    """One walk from each start.

    Parameters
    ----------
    starts: int [walks], node numbers; repeat one for several walks.
    length: steps at most.
    restart: probability, before each step, to be back at the start instead.
    decay: probability, before each step, to end there.
    backtrack: False: never to the node it has just come from, unless there is no other.
    seed: of all random draws.
    numbers: int [walks], the walks' own numbers; default: 0, 1, .... Any part of some walks, asked for with its numbers, is that part.

    Returns int32 [walks, length + 1], the start first; -1 after the end. A walk also ends at a node without outgoing edges.
    """
    return random_walks(
        graph.indptr, graph.indices, graph.cumulative, starts, length, restart=restart, decay=decay, backtrack=backtrack, seed=seed, numbers=numbers
    )


def repaired(
    paths: np.ndarray, before: Graph, after: Graph, *, restart: float = 0.0, decay: float = 0.0, backtrack: bool = True, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The walks of a changed graph from those of the graph before, bit for bit as if all were walked anew.

    Only walks that leave a node whose edges changed are walked again. The other settings must be those that `walks` was called with.
    Returns the walks, and int64 numbers of those that were walked again.
    """
    changed = before.rows_changed(after)
    again = np.flatnonzero(((paths[:, :-1] >= 0) & changed[paths[:, :-1]]).any(axis=1))
    out = paths.copy()
    out[again] = walks(
        after, paths[again, 0], paths.shape[1] - 1, restart=restart, decay=decay, backtrack=backtrack, seed=seed, numbers=again
    )  # fmt: skip
    return out, again
