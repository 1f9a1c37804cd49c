"""Which pictures to learn from: how far two sets of features are apart, clusters of equal size, and few points that cover many."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData

RELIABLE = 50
"""Pictures that a covariance needs at the least; below, it is shrunk."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of a set of features."""

    mean: np.ndarray
    """float64 [d]."""
    covariance: np.ndarray
    """float64 [d, d]."""
    count: int


def moments(features: np.ndarray, *, what: str | None = None) -> Moments:
    """Of float [n, d]; one vector alone has a covariance of 0.

    Parameters
    ----------
    what: name of the set; with it, a set of less than 50 is shrunk to a multiple of the identity as Chen et al. (2010, "oracle approximating
        shrinkage") do, and a warning says so.

    Raises `EmptyData` and `BadValue`, with the row, for what is not finite.
    """
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or not len(x):
        raise EmptyData(f"features of shape {list(x.shape)}", fix="give [n, d], n at least 1")
    if bad := np.flatnonzero(~np.isfinite(x).all(1)).tolist():
        raise BadValue(f"{len(bad)} vectors have values that are no numbers", fix="look at their pictures", row=bad[0])
    centred = x - x.mean(0)
    if what is not None and len(x) < RELIABLE:
        warnings.warn(f"{len(x)} pictures of {what} are few for a covariance, which is shrunk: give {RELIABLE} or more", stacklevel=2)
        return Moments(x.mean(0), _shrunk(centred.T @ centred / len(x), len(x)), len(x))
    return Moments(x.mean(0), centred.T @ centred / max(1, len(x) - 1), len(x))


def frechet(a: Moments, b: Moments) -> float:
    """Frechet distance of two normal distributions: |m - n|^2 + tr(C + D - 2 (C D)^(1/2)); 0 for the same.

    The trace of the root is that of the symmetric D^(1/2) C D^(1/2), which is finite for any covariances, singular ones too.

    Source: Dowson and Landau, 1982; of features of pictures, Heusel et al., NeurIPS 2017.
    """
    root = _root(b.covariance)
    between = np.sqrt(np.clip(np.linalg.eigvalsh(root @ a.covariance @ root), 0, None)).sum()
    apart = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2 * between
    return float(max(0.0, apart))


def union_frechet(features: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> float:
    """Frechet distance of two sets of features, from as many vectors of one as of the other: a small sample's covariance is too small."""
    few = min(len(features), len(target))
    one, other = (side if len(side) == few else side[rng.choice(len(side), few, replace=False)] for side in (features, target))
    return frechet(moments(one), moments(other))


def balanced_kmeans(vectors: np.ndarray, clusters: int, *, seed: int = 0, rounds: int = 20) -> np.ndarray:
    """Labels int64 [n] of k-means whose clusters all have n // clusters members, or one more.

    Vectors are assigned by the cheapest assignment to as many places as there are vectors (Bradley, Bennett and Demiriz, Constrained K-Means
    Clustering, 2000), exactly: n^2 memory, some thousands of vectors. Raises `ConfigError` for more clusters than vectors.
    """
    from scipy.optimize import linear_sum_assignment

    x = np.asarray(vectors, np.float64)
    n = len(x)
    if not 1 <= clusters <= n:
        raise ConfigError(f"{clusters} clusters of {n} vectors", fix=f"use 1 to {n}")
    rng = np.random.default_rng([seed, 41])
    centres = x[_spread(x, clusters, rng)]
    fixed = n // clusters
    labels = np.full(n, -1)
    for _ in range(rounds):
        apart = ((x * x).sum(1)[:, None] + (centres * centres).sum(1) - 2 * x @ centres.T).astype(np.float32)
        # Every cluster has `fixed` places that must be taken. One more each may be, but only as many as there are vectors left: the other extra
        # places are filled by nobody, who can have no other place.
        most = float(apart.max() - apart.min() + 1) * n
        extra = n - fixed * clusters
        nobody = np.tile(np.r_[np.full(fixed * clusters, most), np.zeros(clusters if extra else 0)], (clusters - extra if extra else 0, 1))
        place = np.r_[np.repeat(np.arange(clusters), fixed), np.arange(clusters if extra else 0)]
        cost = np.concatenate([apart[:, place], nobody.astype(np.float32)])
        rows, columns = linear_sum_assignment(cost)
        found = np.empty(n, np.int64)
        own = rows < n
        found[rows[own]] = place[columns[own]]
        if (found == labels).all():
            break
        labels = found
        centres = np.stack([x[labels == k].mean(0) for k in range(clusters)])
    return labels


def k_center(vectors: np.ndarray, count: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Farthest points: `count` more numbers of vectors, each the farthest from all that are chosen before it.

    Parameters
    ----------
    chosen: int [m], where to begin; with none, the vector nearest to the mean is the first of the `count`.

    Returns
    -------
    int64 [count], and the distance of the farthest vector after each, float64 [count], which never rises.

    Greedy, at most twice the best radius: Gonzalez, 1985. Raises `ConfigError` for more than there are.
    """
    x, picked = np.asarray(vectors, np.float64), list(map(int, chosen))
    if not 0 <= count <= len(x) - len(set(picked)):
        raise ConfigError(f"{count} more of {len(x)} vectors, {len(set(picked))} of which are chosen", fix="ask for fewer")
    nearest = np.full(len(x), np.inf)
    for one in picked:
        nearest = np.minimum(nearest, ((x - x[one]) ** 2).sum(1))
    nearest[picked] = -1.0
    made: list[int] = []
    radii: list[float] = []
    for _ in range(count):
        one = int(np.argmax(nearest)) if picked or made else int(np.argmin(((x - x.mean(0)) ** 2).sum(1)))
        nearest = np.where(nearest < 0, nearest, np.minimum(nearest, ((x - x[one]) ** 2).sum(1)))
        nearest[one] = -1.0
        made.append(one)
        radii.append(float(np.sqrt(max(0.0, nearest.max()))))
    return np.array(made, np.int64), np.array(radii)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    out: np.ndarray = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return out


def _shrunk(covariance: np.ndarray, n: int) -> np.ndarray:
    d = len(covariance)
    mean, squares = np.trace(covariance) / d, float((covariance**2).mean())
    least = (n + 1) * (squares - mean**2 / d)
    share = 1.0 if least <= 0 else min(1.0, (squares + mean**2) / least)
    return (1 - share) * covariance + share * mean * np.eye(d)


def _spread(x: np.ndarray, clusters: int, rng: np.random.Generator) -> list[int]:
    """First centres far apart: Arthur and Vassilvitskii, k-means++, 2007."""
    chosen = [int(rng.integers(len(x)))]
    nearest = ((x - x[chosen[0]]) ** 2).sum(1)
    while len(chosen) < clusters:
        weight = nearest.sum()
        one = int(rng.choice(len(x), p=nearest / weight)) if weight > 0 else int(rng.integers(len(x)))
        chosen.append(one)
        nearest = np.minimum(nearest, ((x - x[one]) ** 2).sum(1))
    return chosen
