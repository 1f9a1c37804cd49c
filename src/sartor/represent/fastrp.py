"""FastRP: a vector for every node of a graph from a very sparse random projection of its powers, and for new nodes from their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted
from sartor.parts.unit import unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class FastRP:
    """Node vectors in seconds, without training.

    With P = D^-1 A, R a very sparse random matrix and L = D^alpha (which plays hubs down as targets):

        U_1 = P L R,   U_i = P U_{i-1},   vectors = sum over i of weights[i] * (U_i, rows scaled to length 1), columns standardised

    A node that was not there has U_1 = a L R and U_i = a U_{i-1} with `a` its edges' shares: what `embed` gives it is exact but for the
    effect it would have on its neighbours.

    Source: Chen et al., Fast and Accurate Network Embeddings via Very Sparse Random Projection, CIKM 2019. Not for directed graphs whose
    nodes lack outgoing edges: rows follow out-links only, and those nodes get zeros.
    """

    def __init__(
        self, dim: int = 512, *, weights: Sequence[float] = (0.0, 0.0, 1.0, 6.67), alpha: float = -0.628, standardise: bool = True, seed: int = 0
    ) -> None:
        """Settings.

        Parameters
        ----------
        dim: of the vectors.
        weights: of the powers 1, 2, ...; the published ones were tuned on BlogCatalog.
        alpha: exponent of the degree, between -1 and 0.
        standardise: every column to mean 0 and variance 1.
        seed: of the projection.
        """
        if dim < 1 or not len(weights) or not any(weights) or not np.isfinite([*weights, alpha]).all():
            raise ConfigError(f"dim {dim}, weights {list(weights)}, alpha {alpha}", fix="use dim >= 1 and at least one weight that is not 0")
        self.dim, self.weights, self.alpha, self.standardise, self.seed = dim, tuple(map(float, weights)), alpha, standardise, seed
        self.powers: list[np.ndarray] = []
        """float32 [n, dim] each: L R, U_1, ..., U_{q-1}; what new nodes are made from."""
        self.mean = np.zeros(dim, np.float32)
        self.scale = np.ones(dim, np.float32)
        self.isolated = np.empty(0, bool)
        """bool [n]: nodes without edges, whose vectors are zeros."""

    def fit(self, matrix: Any, *, projection: csr_matrix | None = None) -> np.ndarray:
        """Vectors float32 [n, dim] of all nodes of a square scipy matrix, row = from.

        projection: R [n, dim], where it must be another graph's, so that the vectors can be compared; default: a new one.

        Raises `BadValue` for a weight that is negative or not finite, `EmptyData` for a graph without edges, `ConfigError` where dim > n.
        """
        graph = _checked(matrix)
        n = graph.shape[0]
        if self.dim > n:
            raise ConfigError(f"{self.dim} dimensions for {n} nodes", fix="use at most as many dimensions as there are nodes")
        strength = np.asarray(graph.sum(axis=1)).ravel()
        self.isolated = strength == 0
        inverse = np.where(self.isolated, 0, 1 / np.where(self.isolated, 1, strength))
        transition = graph.astype(np.float32)
        transition.data *= np.repeat(inverse, np.diff(graph.indptr)).astype(np.float32)
        # Relative to the mean strength: a constant that scaling rows takes out again.
        reweighted = np.where(self.isolated, 0, np.where(self.isolated, 1, strength / strength.mean()) ** self.alpha)
        projection = very_sparse_projection(n, self.dim, self.seed) if projection is None else projection
        self.powers = [projection.multiply(reweighted[:, None]).toarray().astype(np.float32)]
        total = np.zeros((n, self.dim), np.float32)
        for at, weight in enumerate(self.weights):
            fresh = transition @ self.powers[-1]
            if weight:
                total += np.float32(weight) * unit(fresh)
            if at + 1 < len(self.weights):
                self.powers.append(fresh)
        there = ~self.isolated
        if self.standardise:
            self.mean, self.scale = total[there].mean(axis=0), total[there].std(axis=0)
            self.scale[self.scale == 0] = 1
            total = (total - self.mean) / self.scale
        total[self.isolated] = 0
        return total

    def embed(self, neighbours: Any) -> np.ndarray:
        """Vectors float32 [new nodes, dim] of nodes that were not there.

        neighbours: scipy matrix [new nodes, n], each row a new node's edges to old ones; a row without edges gets zeros.
        """
        if not self.powers:
            raise NotFitted("FastRP has seen no graph", fix="call fit(matrix)")
        shares = _checked(neighbours, square=False).astype(np.float32)
        if shares.shape[1] != self.powers[0].shape[0]:
            raise ConfigError(f"{shares.shape[1]} columns for {self.powers[0].shape[0]} nodes", fix="give one column per node of the graph")
        strength = np.asarray(shares.sum(axis=1)).ravel()
        shares.data /= np.repeat(np.where(strength > 0, strength, 1), np.diff(shares.indptr)).astype(np.float32)
        total = np.zeros((shares.shape[0], self.dim), np.float32)
        for weight, power in zip(self.weights, self.powers, strict=True):
            if weight:
                total += np.float32(weight) * unit(shares @ power)
        total = (total - self.mean) / self.scale
        total[strength == 0] = 0
        return total


def very_sparse_projection(rows: int, dim: int, seed: int = 0) -> csr_matrix:
    """float32 CSR [rows, dim]: sqrt(s / dim) with a random sign, with probability 1 / s each, s = sqrt(rows); else 0.

    Source: Li, Hastie and Church, Very sparse random projections, KDD 2006.
    """
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    density = 1 / np.sqrt(rows)
    counts = rng.binomial(dim, density, rows)
    row = np.repeat(np.arange(rows), counts)
    column = np.concatenate([rng.choice(dim, count, replace=False) for count in counts]) if row.size else np.empty(0, np.int64)
    sign = np.where(rng.random(row.size) < 0.5, -1.0, 1.0)
    return csr_matrix(((sign * np.sqrt(1 / (density * dim))).astype(np.float32), (row, column)), shape=(rows, dim))


def _checked(matrix: Any, *, square: bool = True) -> csr_matrix:
    graph = matrix.tocsr().astype(np.float64)
    if square and graph.shape[0] != graph.shape[1]:
        raise ConfigError(f"the matrix is {graph.shape[0]} x {graph.shape[1]}", fix="an adjacency matrix is square")
    bad = ~(np.isfinite(graph.data) & (graph.data >= 0))
    if bad.any():
        raise BadValue(f"the weight {graph.data[bad][0]:g} is negative or not finite", fix="weights are strengths: positive numbers")
    if square and not graph.data.any():
        raise EmptyData("the graph has no edge", fix="give edges")
    return graph
