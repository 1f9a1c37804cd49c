"""Clusters of vectors by direction."""

from __future__ import annotations

import numpy as np

from sartor.errors import BadValue, ConfigError, MissingExtra


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
