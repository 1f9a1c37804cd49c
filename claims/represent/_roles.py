"""Graphs in which every node has a community and, independently of it, a role."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

ROLES = ("hub", "bridge", "leaf", "clique")
SHARES = (0.08, 0.22, 0.3, 0.4)
CLIQUE = 5


def role_graph(nodes: int, communities: int, rng: np.random.Generator) -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    """An undirected graph, and each node's community and role.

    Hubs have 12 to 25 neighbours in their community, bridges 2 or 3 there and as many in others, leaves one, members of a clique their
    clique and one or two more.
    """
    community, role = rng.integers(0, communities, nodes), rng.choice(4, nodes, p=SHARES)
    edges: list[tuple[int, int]] = []
    inner = np.flatnonzero(role != 2)
    inside = [inner[community[inner] == one] for one in range(communities)]

    def others(node: int, count: int, home: bool) -> None:
        pool = inside[community[node]] if home else inner[community[inner] != community[node]]
        edges.extend((node, int(one)) for one in rng.choice(pool, min(count, pool.size), replace=False) if one != node)

    for one in range(communities):
        members = rng.permutation(np.flatnonzero((community == one) & (role == 3)))
        for start in range(0, members.size, CLIQUE):
            own = members[start : start + CLIQUE]
            edges.extend((int(a), int(b)) for at, a in enumerate(own) for b in own[at + 1 :])
    for node in range(nodes):
        if role[node] == 0:
            others(node, int(rng.integers(12, 26)), True)
        elif role[node] == 1:
            others(node, int(rng.integers(2, 4)), True)
            others(node, int(rng.integers(2, 4)), False)
        else:
            others(node, 1, True)
    row, column = np.array(edges).T
    matrix = csr_matrix((np.ones(row.size, np.float32), (row, column)), shape=(nodes, nodes))
    return ((matrix + matrix.T) > 0).astype(np.float32), community, role
