"""Does the semidefinite program with covariances find groups of different shapes that k-means misses, and as surely as it should?"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from scipy.sparse import block_diag, csc_matrix, diags, hstack, identity, vstack

from sartor.errors import MissingExtra
from sartor.evaluate.claim import Claim, Outcome
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.represent.clustering import matching, misclustered
from sartor.represent.ila_sdp import ILASDP, _shrunk, _whitened, kmeans_sdp
from sartor.represent.low_rank_sdp import Affinity, solve

CLAIM = Claim(
    slug="ila-sdp",
    paper="Lower mis-clustering error than k-means, the k-means program and EM in simulations; exact recovery under well-separated centres; less "
    "sensitive to initialisation than EM.",
    passes="Gaussian mixtures of 300 points, 3 or 4 groups, 4 or 20 dimensions (by turns), shares in proportion 4:3:2:1, covariances spherical and "
    "large, thin, tilted, spherical and small; centres at distance 2.5, 3.5 and 5 from the middle; 20 instances at each. Baselines with the best of "
    "10 starts. Mean share of misclustered points <= EM's (full covariances) - 0.02 overall, and <= that of the k-means program - 0.05; the "
    "standard deviation over 5 single starts (mean of 6 instances at distance 3.5) <= 1/3 of EM's; the low-rank solver's objective within 0.5% of "
    "the conic package scs on 60 points, for the k-means program and for the one with covariances.",
    data=("world (Gaussian mixtures)",),
    seeds=tuple(range(1, 21)),
)

POINTS, DISTANCES = 300, (2.5, 3.5, 5.0)
STARTS, REPEATED = 5, 6
ARMS = ("ours", "EM", "EM, regularised", "k-means", "k-means program", "spectral")


def mixture(points: int, groups: int, p: int, distance: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Points, groups, and covariances."""
    shares = np.array([4.0, 3.0, 2.0, 1.0])[:groups]
    truth = np.repeat(np.arange(groups), np.round(points * shares / shares.sum()).astype(int))
    truth = np.concatenate([truth, np.zeros(max(0, points - truth.size), int)])[:points]

    def turned(variances: np.ndarray) -> np.ndarray:
        q = np.linalg.qr(rng.standard_normal((p, p)))[0]
        return (q * variances) @ q.T

    thin = np.full(p, 0.05)
    thin[: max(1, p // 4)] = 4.0
    covariances = [4.0 * np.eye(p), turned(thin), turned(np.geomspace(0.1, 3.0, p)), 0.25 * np.eye(p)][:groups]
    centres = rng.standard_normal((groups, p))
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    noise = rng.standard_normal((points, p))
    roots = [np.linalg.cholesky(one) for one in covariances]
    return np.stack([centres[group] + roots[group] @ own for group, own in zip(truth, noise, strict=True)]), truth, covariances


def _error(labels: np.ndarray, truth: np.ndarray) -> float:
    return misclustered(np.unique(labels, return_inverse=True)[1], truth)


def _instance(seed: int, distance: float) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
    groups, p = 3 + seed % 2, (4, 20)[(seed // 2) % 2]
    return *mixture(POINTS, groups, p, distance, np.random.default_rng([seed, int(10 * distance)])), groups


def _one(seed: int, distance: float) -> dict[str, Any]:
    from sklearn.cluster import KMeans, SpectralClustering
    from sklearn.mixture import GaussianMixture

    points, truth, _, groups = _instance(seed, distance)
    start = time.process_time()
    ours = ILASDP(clusters=groups, seed=seed).fit(points)
    seconds = time.process_time() - start
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    return {
        "distance": distance, "p": points.shape[1], "groups": groups, "seconds": seconds, "rounds": len(ours.objectives_),
        "violation": ours.solution_.violation,
        "ours": _error(ours.labels_, truth),
        "EM": _error(GaussianMixture(groups, n_init=10, random_state=seed).fit_predict(points), truth),
        "EM, regularised": _error(GaussianMixture(groups, n_init=10, reg_covar=0.1, random_state=seed).fit_predict(points), truth),
        "k-means": _error(KMeans(groups, n_init=10, random_state=seed).fit_predict(points), truth),
        "k-means program": _error(kmeans_sdp(points, groups, seed=seed)[0], truth),
        "spectral": _error(SpectralClustering(groups, gamma=1 / np.median(squares), random_state=seed).fit_predict(points), truth),
    }  # fmt: skip


def _starts(seed: int) -> dict[str, Any]:
    """Errors over single starts, and of k-means and EM whose centres all start in one group."""
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    points, truth, _, groups = _instance(seed, DISTANCES[1])
    out: dict[str, Any] = {"ours": [], "EM": [], "k-means": [], "EM, one group": [], "k-means, one group": []}
    for start in range(STARTS):
        rng = np.random.default_rng([seed, start])
        centres = points[rng.choice(np.flatnonzero(truth == 0), groups, replace=False)]
        out["ours"].append(_error(ILASDP(clusters=groups, seed=1000 + start).fit(points).labels_, truth))
        out["EM"].append(_error(GaussianMixture(groups, init_params="random_from_data", random_state=start).fit_predict(points), truth))
        out["k-means"].append(_error(KMeans(groups, init="random", n_init=1, random_state=start).fit_predict(points), truth))
        out["EM, one group"].append(_error(GaussianMixture(groups, means_init=centres, random_state=start).fit_predict(points), truth))
        out["k-means, one group"].append(_error(KMeans(groups, init=centres, n_init=1).fit_predict(points), truth))
    return out


def conic(affinities: Sequence[Affinity], traces: Sequence[float]) -> float:
    """The same program by scs: positive semidefinite and non-negative matrices, written as lower triangles."""
    try:
        import scs
    except ImportError as missing:
        raise MissingExtra("scs", "dev") from missing
    n, k = affinities[0].points.shape[0], len(affinities)
    column, row = np.triu_indices(n)
    size, off = row.size, row != column
    cost = np.concatenate([-one.dense()[row, column] * np.where(off, 2.0, 1.0) for one in affinities])
    at = np.arange(size)
    trace = [csc_matrix(((~off).astype(float), (np.zeros(size, int), at)), shape=(1, size))] * k
    sums = csc_matrix((np.ones(size + off.sum()), (np.concatenate([row, column[off]]), np.concatenate([at, at[off]]))), shape=(n, size))
    matrix = vstack([block_diag(trace), hstack([sums] * k), -identity(k * size), -block_diag([diags(np.where(off, 2**0.5, 1.0))] * k)]).tocsc()
    right = np.concatenate([np.asarray(traces, float), np.ones(n), np.zeros(2 * k * size)])
    cones = {"z": k + n, "l": k * size, "s": [n] * k}
    done = scs.SCS({"A": matrix, "b": right, "c": cost}, cones, verbose=False, eps_abs=1e-6, eps_rel=1e-6, max_iters=20_000).solve()
    return -float(done["info"]["pobj"])


def best(points: np.ndarray, affinities: Sequence[Affinity], traces: Sequence[float], rank: int) -> float:
    """The low-rank solver's objective: from three random starts, or near the k-means program's groups with the shapes in every order."""
    if len(affinities) == 1:
        return max(solve(affinities, traces, rank=rank, seed=seed).objective for seed in range(3))
    groups = np.eye(len(affinities))[kmeans_sdp(points, len(affinities))[0]]
    rng = np.random.default_rng(0)
    starts = (
        [np.outer(groups[:, one], rng.random(rank)) + 0.3 * rng.random((len(points), rank)) for one in order]
        for order in permutations(range(len(affinities)))
    )
    return max(solve(affinities, traces, rank=rank, start=start).objective for start in starts)


def _solver(seed: int) -> dict[str, float]:
    """Relative differences of the objective on 60 points."""
    points, _, covariances = mixture(60, 3, 4, DISTANCES[1], np.random.default_rng([seed, 60]))
    points = points - points.mean(axis=0)
    plain = [Affinity(points, 0.0)]
    with_shapes = [Affinity(white, -half) for white, half in (_whitened(points, _shrunk(one, 60, 0.0)[0]) for one in covariances)]
    out = {}
    for name, affinities, traces, rank in (("k-means program", plain, [3.0], 6), ("with covariances", with_shapes, [1.0] * 3, 5)):
        exact = conic(affinities, traces)
        out[name] = abs(best(points, affinities, traces, rank) - exact) / abs(exact)
    return out


def _newcomers(seed: int) -> dict[str, Any]:
    """Whether new points get their own group, from themselves, from nothing (the largest group), and from another new point."""
    points, truth, _, groups = _instance(seed, DISTANCES[2])
    rng = np.random.default_rng([seed, 8])
    new = rng.choice(POINTS, 60, replace=False)
    old = np.setdiff1d(np.arange(POINTS), new)
    method = ILASDP(clusters=groups, seed=seed).fit(points[old])
    names = np.full(groups, -1)
    found = matching(np.append(method.labels_, groups - 1), np.append(truth[old], truth[old][-1]))
    names[: found.size] = found[:groups]
    start = time.perf_counter()
    labels, state = method.assign(points[new])
    seconds = (time.perf_counter() - start) / new.size
    largest = names[np.bincount(method.labels_).argmax()]
    own = names[labels]
    return {
        "own": own == truth[new], "none": largest == truth[new], "swapped": np.roll(own, 1) == truth[new], "bytes": state[0].nbytes,
        "seconds": seconds,
    }  # fmt: skip


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every instance at every distance; starts and solver on the first seeds; one thread."""
    from threadpoolctl import threadpool_limits

    rows: list[dict[str, Any]] = []
    starts, people = [], []
    with bar("ila-sdp", len(seeds), enabled=progress) as step, threadpool_limits(1), warnings.catch_warnings():
        # scikit-learn tells of a mixture that did not converge in its default number of rounds; the best of 10 is taken all the same.
        warnings.simplefilter("ignore")
        for number, seed in enumerate(seeds):
            rows += [_one(seed, distance) for distance in DISTANCES]
            if number < REPEATED:
                starts.append(_starts(seed))
                people.append(_newcomers(seed))
            step.advance()
        differences = _solver(seeds[0])

    def mean(arm: str, **where: Any) -> float:
        return float(np.mean([row[arm] for row in rows if all(row[name] == value for name, value in where.items())]))

    cells = {
        f"distance {distance}, {p} dimensions": {arm: mean(arm, distance=distance, p=p) for arm in ARMS}
        for distance in DISTANCES
        for p in sorted({row["p"] for row in rows})
    }
    spread = {arm: float(np.mean([np.std(one[arm]) for one in starts])) for arm in starts[0]}
    conditions = {
        "<= EM - 0.02": mean("ours") <= mean("EM") - 0.02,
        "<= k-means program - 0.05": mean("ours") <= mean("k-means program") - 0.05,
        "spread over starts <= 1/3 of EM's": spread["ours"] <= spread["EM"] / 3,
        "solver within 0.5% of scs": max(differences.values()) <= 0.005,
    }
    own, none, swapped = (np.concatenate([one[arm] for one in people]).astype(float) for arm in ("own", "none", "swapped"))
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "error": {arm: mean(arm) for arm in ARMS},
            "error by distance and dimensions": cells,
            "spread over starts": spread, "error over starts": {arm: float(np.mean([one[arm] for one in starts])) for arm in starts[0]},
            "relative difference from scs": differences, "CPU seconds per fit": mean("seconds"), "rounds": mean("rounds"),
            "largest violation": max(row["violation"] for row in rows), "conditions": conditions,
        },
        baseline={arm: mean(arm) for arm in ARMS[1:]},
        gain=float((own - none).mean()), gain_interval=bootstrap(own - none).tolist(),
        swap_gap=float((own - swapped).mean()), swap_gap_interval=bootstrap(own - swapped).tolist(),
        state_bytes=float(np.mean([one["bytes"] for one in people])), adapt_seconds=float(np.mean([one["seconds"] for one in people])),
        notes="Gain and swap gap: share of new points (60 of 300 held out, distance 5, six instances) that get their own group, against the largest "
        "group for all, and against another's point. EM is scikit-learn's with its default regularisation; with 0.1 added to variances it is the "
        "other arm. The single starts of EM are random points; centres that all start in the largest group are the last two arms of the spread.",
    )  # fmt: skip
