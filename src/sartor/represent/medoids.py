"""The few of many vectors that stand best for all of them."""

from __future__ import annotations

import numpy as np

from sartor.errors import BadValue, ConfigError


def medoids(vectors: np.ndarray, count: int, *, weights: np.ndarray | None = None, rounds: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """The few vectors that stand best for all: those with the largest total cosine between each vector and the nearest of them.

    Parameters
    ----------
    vectors: float [n, dim], of any length but zero; n up to some thousands (all cosines are held at once).
    count: how many at most; fewer when there are fewer directions.
    weights: float [n], how much each vector counts.
    rounds: of improvement; it also ends when nothing changes. The same input gives the same answer.

    Returns
    -------
    numbers of the medoids int32 [m], the one that stands for most first, and for every vector the place of its medoid among them, int32 [n].

    Greedy choice (facility location, within 1 - 1/e of the best: Nemhauser et al. 1978), then the best medoid of each cluster in turn.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if bad := np.flatnonzero(~(lengths[:, 0] > 0) | ~np.isfinite(lengths[:, 0])).tolist():
        raise BadValue(f"vector {bad[0]} has length {lengths[bad[0], 0]:g}; its direction is undefined", fix="leave such vectors out", row=bad[0])
    if count < 1:
        raise ConfigError(f"{count} medoids", fix="use at least 1")
    units = vectors / lengths
    cosines = np.clip(units @ units.T, -1.0, 1.0)
    worth = np.ones(len(vectors)) if weights is None else np.asarray(weights, np.float64)
    chosen: list[int] = []
    covered = np.full(len(vectors), -1.0)
    while len(chosen) < count:
        gains = worth @ np.maximum(cosines - covered[:, None], 0)
        best = int(np.argmax(gains))
        if gains[best] <= 1e-5 * worth.sum():
            break
        chosen.append(best)
        covered = np.maximum(covered, cosines[:, best])
    of = np.argmax(cosines[:, chosen], axis=1)
    for _ in range(rounds):
        moved = [int((own := np.flatnonzero(of == at))[np.argmax(worth[own] @ cosines[np.ix_(own, own)])]) for at in range(len(chosen))]
        if moved == chosen:
            break
        chosen, of = moved, np.argmax(cosines[:, moved], axis=1)
        if np.unique(of).size < len(chosen):
            break
    totals = np.bincount(of, worth, len(chosen))
    order = np.argsort(-totals, kind="stable")
    return np.array(chosen, np.int32)[order], np.argsort(order)[of].astype(np.int32)
