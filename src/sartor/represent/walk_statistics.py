"""What random walks from a node look like, without anybody's id: which nodes were met again, and how large the degrees on the way were.

Both are the same for nodes of the same role, in whatever graph, and need no training. Source: anonymous walks from Ivanov and Burnaev,
Anonymous walk embeddings, ICML 2018; with degrees as in Qin and Yeung, IRWE, 2024.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from sartor.parts.random_walks import random_walks

BUCKETS = 12
"""Of degrees: 1, 2-3, 4-7, ...; the last has all from 2,048."""
_AT_ONCE = 2_000_000
"""Walks held at the same time."""


@cache
def patterns(length: int) -> tuple[tuple[int, ...], ...]:
    """All anonymous walks of so many nodes: each is a node's place in the order of first visits; 15 of 4 nodes, 52 of 5."""
    out: list[tuple[int, ...]] = [(0,)]
    for _ in range(length - 1):
        out = [(*one, following) for one in out for following in range(max(one) + 2)]
    return tuple(out)


def walk_statistics(
    indptr: np.ndarray, indices: np.ndarray, nodes: np.ndarray, *, length: int, walks: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Of some nodes: shares of the anonymous walks float32 [nodes, patterns], and of the degrees met float32 [nodes, length * BUCKETS].

    Parameters
    ----------
    indptr, indices: CSR of a graph without weights.
    nodes: int [m].
    length: nodes per walk, the start counted.
    walks: from each node.

    A node without edges has no walk: its shares of patterns are 0, and of degrees it has none.
    """
    table = _table(length)
    buckets = np.minimum(np.log2(np.maximum(np.diff(indptr), 1)).astype(np.int64), BUCKETS - 1)
    shares = np.zeros((nodes.size, len(patterns(length))), np.float32)
    degrees = np.zeros((nodes.size, length * BUCKETS), np.float32)
    each = max(1, _AT_ONCE // walks)
    for start in range(0, nodes.size, each):
        own = np.asarray(nodes[start : start + each], np.int64)
        # Walks are numbered by node, so that they do not depend on who else was asked for.
        numbers = (own[:, None] * walks + np.arange(walks)).ravel()
        paths = random_walks(indptr, indices, np.empty(0, np.float32), np.repeat(own, walks), length - 1, seed=seed, numbers=numbers)
        _count(paths, walks, table, buckets, shares[start : start + each], degrees[start : start + each])
    return shares, degrees


@cache
def _table(length: int) -> np.ndarray:
    """The number of a pattern by its digits in base `length`, -1 where there is none."""
    table = np.full(length**length, -1, np.int64)
    for number, one in enumerate(patterns(length)):
        table[sum(place * length**at for at, place in enumerate(one))] = number
    return table


@numba.njit(nogil=True, cache=True)
def _count(paths, walks, table, buckets, shares, degrees):  # type: ignore[no-untyped-def]
    length = paths.shape[1]
    width = degrees.shape[1] // length
    for walk in range(paths.shape[0]):
        node = walk // walks
        if length > 1 and paths[walk, 1] < 0:
            continue
        code, base, met = 0, 1, 0
        for at in range(length):
            place = met
            for before in range(at):
                if paths[walk, before] == paths[walk, at]:
                    place = (code // length**before) % length
                    break
            if place == met:
                met += 1
            code += place * base
            base *= length
            degrees[node, at * width + buckets[paths[walk, at]]] += 1.0 / walks
        shares[node, table[code]] += 1.0 / walks
