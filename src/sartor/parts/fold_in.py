"""A person's vector by gradient descent on that person's own items, with everything that is shared frozen.

The pairwise fold-in of every method that is trained with BPR: matrix factorisation, LightGCN, hashed tables. One compiled loop per
person, so that a person costs about a millisecond and nobody's numbers depend on who else is in the batch.

Minimised for each person, with positives p and a fixed random set of negatives n:

    mean softplus(s_n - s_p) weighted over p, plus l2 |x|^2,   s_i = (offset + x B) . v_i
"""

from __future__ import annotations

import numba
import numpy as np

FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be reordered, so that inner products use vector registers; NaN and infinity keep their meaning."""


def fold_in(
    vectors: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    start: np.ndarray,
    *,
    offset: np.ndarray | None = None,
    basis: np.ndarray | None = None,
    steps: int = 50,
    learning_rate: float = 0.05,
    l2: float = 1e-3,
    negatives: int = 1024,
    pool: int = 0,
    temperature: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """Vectors float32 [people, r] for people by their histories.

    Parameters
    ----------
    vectors: float32 [items, d], frozen.
    indptr, indices: the histories as CSR; items sorted and distinct inside each person.
    start: float32 [r], where everybody starts; a person without items stays there.
    offset: float32 [people, d], a part of each person's vector that is not learned here.
    basis: float32 [r, d], when only a few directions are learned; then r < d.
    steps, learning_rate: of Adam.
    l2: pulls towards zero.
    negatives: size of the random set of items that positives are compared with, the same for all people; a person's own are skipped.
    pool, temperature: with a pool of 2 or more, positives compete in random groups of that size: inside one, their weights are
        softmax(-loss / temperature), so that the odd ones out count little. That is what drawing one of each pool by personal-loss
        resampling does on average. 0 weighs all alike.
    """
    items = vectors.shape[0]
    against = np.sort(np.random.default_rng([seed, items]).choice(items, min(negatives, items), replace=False)).astype(np.int32)
    reduced = vectors if basis is None else vectors @ basis.T
    people = indptr.size - 1
    fixed = np.zeros((people, 0), np.float32) if offset is None else np.ascontiguousarray(offset, np.float32)
    out = np.repeat(np.asarray(start, np.float32)[None], people, 0)
    _fold_in(
        np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(reduced, np.float32), indptr, indices, fixed, against, out,
        steps, np.float32(learning_rate), np.float32(l2), pool, np.float32(temperature),
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def _fold_in(vectors, reduced, indptr, indices, fixed, against, out, steps, rate, l2, pool, temperature):  # type: ignore[no-untyped-def]
    r = out.shape[1]
    for person in numba.prange(out.shape[0]):
        own = indices[indptr[person] : indptr[person + 1]]
        n = own.size
        others = without(against, own)
        m = others.size
        if n == 0 or m == 0:
            continue
        rows, base = np.empty((n + m, r), np.float32), np.zeros(n + m, np.float32)
        for j in range(n + m):
            item = own[j] if j < n else others[j - n]
            rows[j] = reduced[item]
            if fixed.shape[1]:
                total = np.float32(0)
                for a in range(fixed.shape[1]):
                    total += fixed[person, a] * vectors[item, a]
                base[j] = total
        x, first, second, slope = out[person], np.zeros(r, np.float32), np.zeros(r, np.float32), np.empty(r, np.float32)
        score, pull = np.empty(n + m, np.float32), np.empty(n + m, np.float32)
        loss, push, count, weight = np.empty(n, np.float32), np.empty(max(n, m), np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
        beta1, beta2 = np.float32(1), np.float32(1)
        for step in range(steps):
            for j in range(n + m):
                total = base[j]
                for a in range(r):
                    total += rows[j, a] * x[a]
                score[j] = total
            pull[:] = 0
            _pairs(score, n, m, step, pool, temperature, loss, push, count, weight, pull)
            for a in range(r):
                slope[a] = 2 * l2 * x[a]
            for j in range(n + m):
                for a in range(r):
                    slope[a] += pull[j] * rows[j, a]
            beta1 *= np.float32(0.9)
            beta2 *= np.float32(0.999)
            for a in range(r):
                first[a] = np.float32(0.9) * first[a] + np.float32(0.1) * slope[a]
                second[a] = np.float32(0.999) * second[a] + np.float32(0.001) * slope[a] * slope[a]
                x[a] -= rate * (first[a] / (1 - beta1)) / (np.sqrt(second[a] / (1 - beta2)) + np.float32(1e-8))


@numba.njit(cache=True, nogil=True)
def _pairs(score, n, m, step, pool, temperature, loss, push, count, weight, pull):  # type: ignore[no-untyped-def]
    """Derivative of the weighted pairwise loss by every score, into `pull`; which negative meets which positive turns with the step."""
    pairs = max(n, m)
    loss[:] = 0
    count[:] = 0
    p, q = step % n, n
    for t in range(pairs):
        gap = score[q] - score[p]
        # softplus and its derivative without overflow
        small = np.exp(-abs(gap))
        if pool > 1:
            loss[p] += max(gap, np.float32(0)) + np.log1p(small)
        count[p] += 1
        push[t] = 1 / (1 + small) if gap >= 0 else small / (1 + small)
        p, q = _next(p, 0, n), _next(q, n, n + m)
    for p in range(n):
        loss[p] /= count[p]
        weight[p] = np.float32(1) / n
    if pool > 1:
        _weigh_by_pools(loss, n, step, pool, temperature, weight)
    p, q = step % n, n
    for t in range(pairs):
        change = weight[p] / count[p] * push[t]
        pull[q] += change
        pull[p] -= change
        p, q = _next(p, 0, n), _next(q, n, n + m)


@numba.njit(cache=True, nogil=True)
def _next(at, first, stop):  # type: ignore[no-untyped-def]
    return at + 1 if at + 1 < stop else first


@numba.njit(cache=True, nogil=True)
def _weigh_by_pools(loss, n, step, pool, temperature, weight):  # type: ignore[no-untyped-def]
    """Cut the positives into pools, differently at every step, and share each pool's weight by softmax(-loss / temperature)."""
    stride = 1 + 2 * (step % 16)
    while _divisor(stride, n) > 1:
        stride += 1
    start = 0
    while start < n:
        stop = start + pool if n - start >= 2 * pool else n
        least = np.float32(np.inf)
        for j in range(start, stop):
            least = min(least, loss[(j * stride + step) % n])
        total = np.float32(0)
        for j in range(start, stop):
            total += np.exp((least - loss[(j * stride + step) % n]) / temperature)
        for j in range(start, stop):
            p = (j * stride + step) % n
            weight[p] = np.exp((least - loss[p]) / temperature) / total * np.float32(stop - start) / n
        start = stop


@numba.njit(cache=True, nogil=True)
def _divisor(a, b):  # type: ignore[no-untyped-def]
    while b:
        a, b = b, a % b
    return a


@numba.njit(cache=True, nogil=True)
def without(numbers, own):  # type: ignore[no-untyped-def]
    """The sorted numbers that are not among the sorted own ones."""
    out = np.empty(numbers.size, numbers.dtype)
    filled, at = 0, 0
    for item in numbers:
        while at < own.size and own[at] < item:
            at += 1
        if at == own.size or own[at] != item:
            out[filled] = item
            filled += 1
    return out[:filled]
