"""Clusters of vectors by direction, and what every clustering is judged by: agreement with known groups, modularity, entropy of attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sartor.errors import BadValue, ConfigError, MissingExtra

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def spherical_kmeans(vectors: np.ndarray, clusters: int, *, seed: int = 0, rounds: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of the largest total cosine between vectors and the centre of their cluster.

    Parameters
    ----------
    vectors: float [n, dim], of any length but zero.
    clusters: how many.
    seed, rounds: of the search; it also ends when no vector changes its cluster.

    Returns
    -------
    labels int32 [n], and centres float32 [clusters, dim] of length 1. Every cluster has a member.

    Source: Dhillon and Modha, Concept decompositions for large sparse text data using clustering, 2001. The start is k-means of the unit
    vectors by scikit-learn (the extra `cluster`); it differs from this in that its centres are not of length 1.

    Raises `BadValue` for a zero vector or one that is not finite, `ConfigError` for more clusters than directions.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(lengths[:, 0] > 0) | ~np.isfinite(lengths[:, 0]))
    if bad.size:
        raise BadValue(
            f"vector {bad[0]} has length {lengths[bad[0], 0]:g}; its direction is undefined", fix="leave such vectors out", row=int(bad[0])
        )
    units = (vectors / lengths).astype(np.float32)
    if clusters < 1 or clusters > (found := np.unique(units, axis=0).shape[0]):
        known = "" if clusters < 1 else f" for {found} different directions"
        raise ConfigError(f"{clusters} clusters{known}", fix="use at least 1, and fewer than there are vectors")
    try:
        from sklearn.cluster import KMeans
    except ImportError as missing:
        raise MissingExtra("scikit-learn", "cluster") from missing
    start = KMeans(clusters, n_init=1, random_state=seed).fit(units)
    labels = np.asarray(start.labels_, np.int32)
    centres = _centres(units, labels, clusters)
    for _ in range(rounds):
        before, labels = labels, np.argmax(units @ centres.T, axis=1).astype(np.int32)
        for empty in np.setdiff1d(np.arange(clusters), labels):
            # The vector that fits worst, of a cluster that can spare it, starts the cluster anew.
            fit = np.einsum("nd,nd->n", units, centres[labels])
            fit[np.bincount(labels, minlength=clusters)[labels] < 2] = np.inf
            labels[np.argmin(fit)] = empty
            centres = _centres(units, labels, clusters)
        if (labels == before).all():
            break
        centres = _centres(units, labels, clusters)
    return labels, centres


def _centres(units: np.ndarray, labels: np.ndarray, clusters: int) -> np.ndarray:
    from scipy.sparse import csr_matrix

    sums = csr_matrix((np.ones(labels.size, np.float32), (labels, np.arange(labels.size))), shape=(clusters, labels.size)) @ units
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # A cluster whose members cancel out has no direction: any member stands for it.
    first = np.full(clusters, 0)
    first[labels[::-1]] = np.arange(labels.size)[::-1]
    return np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), units[first]).astype(np.float32)


def matching(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A group of the truth for every label, one to one, so that they agree as often as they can: `matching(labels, truth)[labels]`.

    Both int [n] from 0; returns int64 [labels there are]. Labels left over get numbers after the truth's. Source: Kuhn, The Hungarian method
    for the assignment problem, 1955, by scipy.
    """
    from scipy.optimize import linear_sum_assignment

    table = _table(labels, truth)
    own, known = linear_sum_assignment(-table)
    names = np.full(table.shape[0], -1, np.int64)
    names[own] = known
    spare = names < 0
    names[spare] = table.shape[1] + np.arange(spare.sum())
    return names


def misclustered(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of members in a wrong group, after the best one-to-one naming of the groups."""
    return float((matching(labels, truth)[labels] != truth).mean())


def normalised_mutual_information(labels: np.ndarray, truth: np.ndarray) -> float:
    """Mutual information over the mean of the two entropies: 1 for the same groups, 0 for independent ones (or a single group)."""
    joint = _table(labels, truth) / len(truth)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    there = joint > 0
    shared = float((joint[there] * np.log(joint[there] / np.outer(rows, columns)[there])).sum())
    mean = (_entropy(rows, np.e) + _entropy(columns, np.e)) / 2
    return shared / mean if mean > 1e-12 else 1.0


def adjusted_rand_index(labels: np.ndarray, truth: np.ndarray) -> float:
    """Agreement on pairs of members, less what chance gives: 1 for the same groups, about 0 for independent ones."""
    table = _table(labels, truth)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / max(1.0, pairs(np.array([table.sum()])))
    most = (rows + columns) / 2
    return (both - expected) / (most - expected) if most != expected else 1.0


def modularity(adjacency: csr_matrix, labels: np.ndarray) -> float:
    """Share of edge weight inside groups, less what it would be if only the degrees were kept; of an undirected graph. Newman and Girvan, 2004."""
    total = adjacency.sum()
    strength = np.asarray(adjacency.sum(axis=1)).ravel()
    rows = np.repeat(labels, np.diff(adjacency.indptr))
    inside = adjacency.data[rows == labels[adjacency.indices]].sum()
    return float(inside / total - ((np.bincount(labels, strength) / total) ** 2).sum())


def attribute_entropy(attributes: np.ndarray, labels: np.ndarray) -> float:
    """How mixed the values of categorical attributes int [n, attributes] are inside the groups: bits, summed over attributes, mean over members."""
    total = 0.0
    for column in attributes.T:
        table = _table(labels, np.unique(column, return_inverse=True)[1])
        sizes = table.sum(axis=1)
        total += sum(size * _entropy(row / size, 2.0) for row, size in zip(table, sizes, strict=True) if size)
    return total / len(labels)


def _table(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    if labels.shape != truth.shape or not labels.size:
        raise ConfigError(f"{labels.size} labels for {truth.size} members", fix="give one label each")
    out = np.zeros((int(labels.max()) + 1, int(truth.max()) + 1))
    np.add.at(out, (labels, truth), 1)
    return out


def _entropy(shares: np.ndarray, base: float) -> float:
    there = shares[shares > 0]
    return float(-(there * np.log(there)).sum() / np.log(base))
