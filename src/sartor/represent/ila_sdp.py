"""Clusters of different shapes and sizes from a semidefinite program over labels: no centroids that could start in the wrong place."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sartor.errors import BadValue, ConfigError, NotFitted, TooLarge
from sartor.represent.low_rank_sdp import Affinity, Solution, solve

_LIMIT = 2000
"""Points that a program may have."""
_WIDE = 50
"""Dimensions above which covariances are kept as a few factors and a diagonal."""
_FACTORS = 16
_FLOOR = 1e-3
"""The least variance of a group, relative to the mean one of all points."""
_COMMON = (0.6, 0.3, 0.1)
"""Share of the groups' common covariance in everybody's, in the first rounds: from the k-means program's assumption to none."""


@dataclass(kw_only=True, eq=False)
class ILASDP:
    """Gaussian clusters whose labels are the parameters: centres are profiled out of the likelihood, covariances alternate with labels.

    With covariance S_k given, A_k[i, j] = -log|S_k| / 2 - (x_i - x_j)' S_k^-1 (x_i - x_j) / 4, and for a partition into G_k with
    Z_k = 1 1' / |G_k| the sum of <A_k, Z_k> is the log-likelihood. Relaxed to Z_k positive semidefinite and non-negative with trace 1 and
    row sums that add up to 1, it is a semidefinite program (`low_rank_sdp`). It starts from the k-means program, which is the case of
    equal covariances, and from a complete-linkage tree, ends when labels repeat, and keeps the better objective.

    For a few hundred to a thousand points whose groups differ in shape; more points by a sketch. With equal covariances `kmeans_sdp` is enough.
    How it compares with EM and how near the low-rank solver comes to a conic one is measured in claims/represent/ila_sdp.py.

    Source: Zhuang, Chen and Yang, Likelihood adjusted semidefinite programs for clustering heterogeneous data, ICML 2023. The solver is our
    reading, and so is that covariances part gradually. They are shrunk as in Chen, Wiesel, Eldar and Hero, Shrinkage algorithms for MMSE
    covariance estimation, 2010.

    A new point's state: its log-likelihood under each group, float32 [clusters].
    """

    clusters: int
    rank: int | None = None
    """Columns of every factor; default: clusters + 2."""
    rounds: int = 12
    """Alternations of labels and covariances, at most."""
    sketch: bool = False
    """For many points: solve for `sample` of them, give the rest the likeliest group."""
    sample: int = 800
    seed: int = 0

    labels_: np.ndarray = field(init=False, repr=False)
    """int64 [n]."""
    means_: np.ndarray = field(init=False, repr=False)
    """float64 [clusters, p], profiled."""
    covariances_: np.ndarray = field(init=False, repr=False)
    """float64 [clusters, p, p]; above 50 dimensions 16 factors and a diagonal."""
    shrinkage_: np.ndarray = field(init=False, repr=False)
    """float64 [clusters]: how far each covariance was drawn to a sphere, 0 to 1; 1 where it was singular beyond help."""
    objectives_: list[float] = field(init=False, repr=False)
    """Of every round."""
    solution_: Solution = field(init=False, repr=False)
    """The factors of the membership matrices, Z_k = V_k V_k'."""

    def fit(self, points: np.ndarray) -> ILASDP:
        """Learn groups of float [n, p].

        Raises `ConfigError` for fewer than 2 or for n or more clusters, `BadValue` for numbers that are not finite, `TooLarge` for more than
        2,000 points without `sketch`.
        """
        points = _checked(points, self.clusters)
        n = len(points)
        if n <= _LIMIT:
            self._fit(points)
            return self
        if not self.sketch:
            raise TooLarge(
                f"{n:,} points: their membership matrices have {self.clusters * n * n * 8 / 1e9:,.1f} GB, and the limit is {_LIMIT:,} points",
                fix="use sketch=True",
            )
        if not self.clusters < self.sample <= _LIMIT:
            raise ConfigError(f"a sample of {self.sample}", fix=f"use more than there are clusters, and at most {_LIMIT:,}")
        chosen = np.random.default_rng(self.seed).choice(n, self.sample, replace=False)
        self._fit(points[chosen])
        sampled, self.labels_ = self.labels_, self.assign(points)[0]
        self.labels_[chosen] = sampled
        return self

    def assign(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest group int64 [n] of new points, and their log-likelihoods float32 [n, clusters] (less a constant)."""
        if not hasattr(self, "means_"):
            raise NotFitted("there are no groups yet", fix="call fit(points)")
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != self.means_.shape[1]:
            raise ConfigError(f"points of shape {points.shape} for {self.means_.shape[1]} dimensions", fix="give float [n, dimensions]")
        out = np.empty((len(points), self.clusters))
        for group, (mean, covariance) in enumerate(zip(self.means_, self.covariances_, strict=True)):
            white, half = _whitened(points - mean, covariance)
            out[:, group] = -half - 0.5 * (white**2).sum(axis=1)
        return out.argmax(axis=1), out.astype(np.float32)

    def _fit(self, points: np.ndarray) -> None:
        from scipy.cluster.hierarchy import fcluster, linkage

        centred = points - points.mean(axis=0)
        tree = fcluster(linkage(centred, "complete"), self.clusters, "maxclust") - 1
        runs = [self._alternated(centred, start) for start in (kmeans_sdp(centred, self.clusters, seed=self.seed)[0], tree)]
        best = max(runs, key=lambda run: run.solution.objective)
        weights = best.solution.membership
        self.solution_, self.objectives_ = best.solution, best.objectives
        self.labels_ = weights.argmax(axis=1)
        self.means_ = (weights.T @ points) / weights.sum(axis=0)[:, None]
        self.shrinkage_ = np.array([share for _, share in best.covariances])
        self.covariances_ = np.stack([_narrow(covariance) for covariance, _ in best.covariances])

    def _alternated(self, points: np.ndarray, labels: np.ndarray) -> _Run:
        """Labels and covariances in turn, from some labels, until labels repeat; the round of the best objective."""
        rng = np.random.default_rng([self.seed, 1])
        rank = self.rank or self.clusters + 2
        floor = _FLOOR * float((points**2).mean()) + 1e-300
        weights = np.eye(self.clusters)[labels]
        scatters = [_scatter(points, labels == group) for group in range(self.clusters)]
        seen, objectives = [labels], []
        best: _Run | None = None
        for number in range(self.rounds):
            sizes = np.maximum(weights.sum(axis=0), 1e-12)
            pooled = np.tensordot(sizes / sizes.sum(), np.stack(scatters), 1)
            common = _COMMON[number] if number < len(_COMMON) else 0.0
            shrunk = [_shrunk((1 - common) * one + common * pooled, size, floor) for one, size in zip(scatters, sizes, strict=True)]
            affinities = [Affinity(white, -half) for white, half in (_whitened(points, covariance) for covariance, _ in shrunk)]
            start = [np.outer(weight, rng.random(rank)) + 0.3 * rng.random((len(points), rank)) for weight in weights.T]
            found = solve(affinities, [1.0] * self.clusters, rank=rank, start=start, tolerance=1e-2 if common else 2e-3)
            weights = found.membership
            labels = weights.argmax(axis=1)
            objectives.append(found.objective)
            if not common and (best is None or found.objective > best.solution.objective):
                best = _Run(found, shrunk, objectives)
            if not common and any((labels == one).all() for one in seen):
                break
            seen.append(labels)
            scatters = [_profiled(points, v) for v in found.factors]
        assert best is not None
        return best


@dataclass(frozen=True, eq=False)
class _Run:
    solution: Solution
    covariances: list[tuple[np.ndarray, float]]
    objectives: list[float]


def _profiled(points: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The covariance that is likeliest given Z = V V': [X' diag(Z 1) X - X' Z X] / 1' Z 1."""
    weight, through = v @ v.sum(axis=0), points.T @ v
    found: np.ndarray = ((points * weight[:, None]).T @ points - through @ through.T) / max(1e-12, float(weight.sum()))
    return found


def kmeans_sdp(points: np.ndarray, clusters: int, *, seed: int = 0) -> tuple[np.ndarray, Solution]:
    """Labels int64 [n] and factor of the k-means semidefinite program: one matrix, trace K, squared distances.

    Labels are read off the factor's leading directions by Ward's linkage, which needs no start. Source: Peng and Wei, Approximating k-means-
    type clustering via semidefinite programming, 2007. Raises as `ILASDP.fit`.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    points = _checked(points, clusters)
    if len(points) > _LIMIT:
        raise TooLarge(f"{len(points):,} points, and the limit is {_LIMIT:,}", fix="take a sample")
    found = solve([Affinity(points - points.mean(axis=0), 0.0)], [float(clusters)], rank=2 * clusters, seed=seed)
    left, singular, _ = np.linalg.svd(found.factors[0], full_matrices=False)
    rows = left[:, :clusters] * singular[:clusters]
    labels = fcluster(linkage(rows, "ward"), clusters, "maxclust") - 1
    return labels.astype(np.int64), found


def _checked(points: np.ndarray, clusters: int) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.ndim != 2:
        raise ConfigError(f"points of shape {points.shape}", fix="give float [n, dimensions]")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if bad.size:
        raise BadValue("a point is not finite", fix="leave it out", row=int(bad[0]))
    if not 2 <= clusters < len(points):
        raise ConfigError(f"{clusters} clusters of {len(points)} points", fix="use at least 2, and fewer than there are points")
    return points


def _scatter(points: np.ndarray, members: np.ndarray) -> np.ndarray:
    own = points[members]
    return np.cov(own, rowvar=False, bias=True).reshape(points.shape[1], -1) if len(own) else np.zeros((points.shape[1],) * 2)


def _shrunk(scatter: np.ndarray, members: float, floor: float) -> tuple[np.ndarray, float]:
    """The oracle approximating shrinkage of a covariance towards a sphere, and its share; `floor` is the least variance."""
    p = len(scatter)
    trace, square = float(np.trace(scatter)), float((scatter**2).sum())
    spread = (members + 1 - 2 / p) * (square - trace**2 / p)
    share = min(1.0, ((1 - 2 / p) * square + trace**2) / spread) if spread > 1e-12 * trace**2 else 1.0
    return (1 - share) * scatter + (share * trace / p + floor) * np.eye(p), share


def _whitened(points: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, float]:
    """Points in the coordinates in which the covariance is the unit matrix, and half its log-determinant."""
    from scipy.linalg import solve_triangular

    root = np.linalg.cholesky(covariance)
    return solve_triangular(root, points.T, lower=True).T, float(np.log(np.diag(root)).sum())


def _narrow(covariance: np.ndarray) -> np.ndarray:
    """Above 50 dimensions: the leading factors, and what they leave of the diagonal."""
    if len(covariance) <= _WIDE:
        return covariance
    values, vectors = np.linalg.eigh(covariance)
    # Less the mean of what is left out, so that something of every variance remains for the diagonal.
    above = values[-_FACTORS:] - values[:-_FACTORS].mean()
    leading: np.ndarray = (vectors[:, -_FACTORS:] * above) @ vectors[:, -_FACTORS:].T
    leading += np.diag(np.diag(covariance) - np.diag(leading))
    return leading
