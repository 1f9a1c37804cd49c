"""Item vectors from pairs of items bought together: skip-gram with negative sampling (Mikolov et al., NeurIPS 2013)."""

from __future__ import annotations

import numba
import numpy as np


def bought_together(histories: list[np.ndarray], window: int = 5) -> np.ndarray:
    """int32 [pairs, 2]: two different items at most `window` purchases apart in one history, each pair once per history and in both directions."""
    gaps = ((items, gap) for items in histories for gap in range(1, min(window, items.size - 1) + 1))
    pairs = np.concatenate([np.stack([items[:-gap], items[gap:]], axis=1) for items, gap in gaps])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int32)


def skip_gram(pairs: np.ndarray, items: int, *, dim: int = 32, epochs: int = 10, negatives: int = 5, rate: float = 0.05, seed: int = 0) -> np.ndarray:
    """float32 [items, dim], centre vectors. Negatives are drawn by frequency to the power 3/4; the rate falls linearly to 0."""
    rng = np.random.default_rng(seed)
    centres = ((rng.random((items, dim)) - 0.5) / dim).astype(np.float32)
    contexts = np.zeros((items, dim), np.float32)
    weights = np.bincount(pairs[:, 1], minlength=items) ** 0.75
    table = np.repeat(np.arange(items, dtype=np.int32), np.round(weights / weights.sum() * 1_000_000).astype(np.int64))
    for epoch in range(epochs):
        order = rng.permutation(len(pairs))
        drawn = table[rng.integers(0, table.size, (len(pairs), negatives))]
        _epoch(pairs[order], drawn, centres, contexts, rate, epoch / epochs, 1 / epochs)
    return centres


@numba.njit(cache=True)
def _epoch(pairs, drawn, centres, contexts, rate, done, share):  # type: ignore[no-untyped-def]
    n, dim = pairs.shape[0], centres.shape[1]
    step = np.empty(dim, np.float32)
    for at in range(n):
        speed = np.float32(rate * (1 - done - share * at / n))
        centre = centres[pairs[at, 0]]
        step[:] = 0
        for which in range(drawn.shape[1] + 1):
            target = pairs[at, 1] if which == 0 else drawn[at, which - 1]
            if which and target == pairs[at, 1]:
                continue
            context = contexts[target]
            error = speed * np.float32((1.0 if which == 0 else 0.0) - 1 / (1 + np.exp(-np.dot(centre, context))))
            step += error * context
            context += error * centre
        centre += step
