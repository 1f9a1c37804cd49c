"""Graphs over features of one set of pictures: who is whose neighbour, both ways, and how much two neighbourhoods overlap."""

from __future__ import annotations

import numpy as np

from sartor.errors import BadValue, ConfigError


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 [n, m] between rows of [n, d] and [m, d], never below 0."""
    made = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return np.maximum(made, 0, out=made)


def nearest(distances: np.ndarray, k: int) -> np.ndarray:
    """int64 [n, k], columns of the k smallest in each row, smallest first; equal ones by their number."""
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def mutual_neighbours(vectors: np.ndarray, k1: int = 2, k2: int = 2) -> np.ndarray:
    """bool [n, n]: j is among the k1 nearest of i, and i among the k2 nearest of j; nobody is its own neighbour.

    Larger k than there are others are lowered. Raises `BadValue` for vectors that are no numbers, `ConfigError` for k below 1.
    """
    if k1 < 1 or k2 < 1:
        raise ConfigError(f"k1 {k1}, k2 {k2}", fix="use at least 1")
    vectors = np.asarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
        raise BadValue("a vector has values that are no numbers", fix="look at its picture", row=int(np.nonzero(~np.isfinite(vectors))[0][0]))
    n = len(vectors)
    apart = squared_distances(vectors, vectors)
    np.fill_diagonal(apart, np.inf)
    order = nearest(apart, min(max(k1, k2), n - 1))
    near = np.zeros((n, n), bool)
    back = near.copy()
    rows = np.arange(n)[:, None]
    near[rows, order[:, :k1]] = True
    back[rows, order[:, :k2]] = True
    return near & back.T


def reciprocal_weights(distances: np.ndarray, *, k1: int = 30, k2: int = 6) -> np.ndarray:
    """float32 [n, n], rows that sum to 1: how much each picture belongs to the neighbourhood of another, from distances [n, n] within one set.

    A neighbourhood is the k1-reciprocal one, enlarged by those k1/2-reciprocal ones of its members that share two thirds with it; weights are
    exp(-distance); rows are then averaged over the k2 nearest (local query expansion). k1 and k2 are lowered where there are fewer pictures.

    Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.
    """
    n = len(distances)
    k1, k2 = min(k1, n - 1), min(k2, n)
    half = max(1, round(k1 / 2))
    order = nearest(distances, max(k1, half) + 1)
    rows = np.arange(n)[:, None]

    def reciprocal(k: int) -> np.ndarray:
        near = np.zeros((n, n), bool)
        near[rows, order[:, : k + 1]] = True
        return near & near.T

    whole, small = reciprocal(k1), reciprocal(half)
    sizes = small.sum(1)
    # Of every candidate's own neighbourhood, how many are in mine.
    shared = small.astype(np.float32) @ whole.T.astype(np.float32)
    joins = whole & (2 / 3 * sizes[None] < shared.T)
    enlarged = whole | ((joins.astype(np.float32) @ small.astype(np.float32)) > 0)
    weights = np.where(enlarged, np.exp(-distances), 0).astype(np.float32)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
    if k2 > 1:
        weights = weights[order[:, :k2]].mean(1)
    return np.asarray(weights, np.float32)


def jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 [p, q], 1 - sum min / sum max, of weights [p, n] and [q, n] whose rows sum to 1."""
    out = np.empty((len(a), len(b)), np.float32)
    for row, mine in enumerate(a):
        places = np.flatnonzero(mine)
        shared = np.minimum(b[:, places], mine[places]).sum(1)
        out[row] = 1 - shared / np.maximum(2 - shared, 1e-12)
    return out


def reranked(queries: np.ndarray, gallery: np.ndarray, *, k1: int = 20, k2: int = 6, share: float = 0.3) -> np.ndarray:
    """float32 [q, g], k-reciprocal re-ranking of unit vectors: `share` of the distance itself, the rest of neighbourhoods'. Smaller is more alike."""
    vectors = np.concatenate([queries, gallery])
    apart = squared_distances(vectors, vectors)
    weights = reciprocal_weights(apart, k1=k1, k2=k2)
    q = len(queries)
    return np.asarray(share * apart[:q, q:] + (1 - share) * jaccard(weights[:q], weights[q:]), np.float32)
