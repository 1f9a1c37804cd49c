"""Compiled kernels for weighted least squares over one row of a sparse matrix; `least_squares` is the way in.

`ids` int32 [n] are the row's columns, `w` and `t` its weights and targets, `vectors` the other side. Reordering of sums is allowed
(it lets the compiler use vector registers); everything else is IEEE arithmetic, so NaN stays NaN.
"""

from __future__ import annotations

import numba
import numpy as np

FAST = {"contract", "reassoc", "nsz", "arcp"}


@numba.njit(cache=True, nogil=True)
def gather(ids, vectors, out):  # type: ignore[no-untyped-def]
    """out[j] = vectors[ids[j]]."""
    for j in range(ids.size):
        at = ids[j]
        for a in range(vectors.shape[1]):
            out[j, a] = vectors[at, a]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def combine(ids, t, vectors, out):  # type: ignore[no-untyped-def]
    """out = sum t v."""
    out[:] = 0
    for j in range(ids.size):
        own, v = t[j], vectors[ids[j]]
        for a in range(out.size):
            out[a] += own * v[a]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def diagonal(ids, w, vectors, shift, out):  # type: ignore[no-untyped-def]
    """out = diagonal of sum w v v' + shift."""
    out[:] = shift
    for j in range(ids.size):
        own, v = w[j], vectors[ids[j]]
        for a in range(out.size):
            out[a] += own * v[a] * v[a]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def start_residual(ids, w, t, vectors, shift, x, out):  # type: ignore[no-untyped-def]
    """out = sum t v - (sum w v v' + shift) x, four entries at a time."""
    k, n = x.size, ids.size
    zero = shift * 0
    for a in range(k):
        out[a] = -shift * x[a]
    whole = n - n % 4
    for j in range(0, whole, 4):
        v0, v1, v2, v3 = vectors[ids[j]], vectors[ids[j + 1]], vectors[ids[j + 2]], vectors[ids[j + 3]]
        d0, d1, d2, d3 = zero, zero, zero, zero
        for a in range(k):
            d0 += v0[a] * x[a]
            d1 += v1[a] * x[a]
            d2 += v2[a] * x[a]
            d3 += v3[a] * x[a]
        d0, d1, d2, d3 = t[j] - d0 * w[j], t[j + 1] - d1 * w[j + 1], t[j + 2] - d2 * w[j + 2], t[j + 3] - d3 * w[j + 3]
        for a in range(k):
            out[a] += (d0 * v0[a] + d1 * v1[a]) + (d2 * v2[a] + d3 * v3[a])
    for j in range(whole, n):
        v = vectors[ids[j]]
        dot = zero
        for a in range(k):
            dot += v[a] * x[a]
        dot = t[j] - dot * w[j]
        for a in range(k):
            out[a] += dot * v[a]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def normal_product(ids, w, vectors, shift, x, out):  # type: ignore[no-untyped-def]
    """out = (sum w v v' + shift) x, four entries at a time."""
    k, n = x.size, ids.size
    zero = shift * 0
    for a in range(k):
        out[a] = shift * x[a]
    whole = n - n % 4
    for j in range(0, whole, 4):
        v0, v1, v2, v3 = vectors[ids[j]], vectors[ids[j + 1]], vectors[ids[j + 2]], vectors[ids[j + 3]]
        d0, d1, d2, d3 = zero, zero, zero, zero
        for a in range(k):
            d0 += v0[a] * x[a]
            d1 += v1[a] * x[a]
            d2 += v2[a] * x[a]
            d3 += v3[a] * x[a]
        d0, d1, d2, d3 = d0 * w[j], d1 * w[j + 1], d2 * w[j + 2], d3 * w[j + 3]
        for a in range(k):
            out[a] += (d0 * v0[a] + d1 * v1[a]) + (d2 * v2[a] + d3 * v3[a])
    for j in range(whole, n):
        v = vectors[ids[j]]
        dot = zero
        for a in range(k):
            dot += v[a] * x[a]
        dot *= w[j]
        for a in range(k):
            out[a] += dot * v[a]


@numba.njit(cache=True, nogil=True)
def workspace(k, vectors):  # type: ignore[no-untyped-def]
    """Scratch for `normal_matrix`: sizes are rounded up to whole vector registers."""
    wide = (k + 15) // 16 * 16
    return np.zeros((wide, wide), vectors.dtype), np.zeros((4, wide), vectors.dtype), np.zeros((4, wide), vectors.dtype)


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def normal_matrix(ids, w, vectors, shift, gram, chunk, scaled):  # type: ignore[no-untyped-def]
    """Upper triangle of sum w v v' + shift I, in blocks of 4 entries x 4 rows of the result, so that loads are shared."""
    n, k, wide = ids.size, vectors.shape[1], gram.shape[0]
    gram[:] = 0
    for a in range(k):
        gram[a, a] = shift
    for first in range(0, n, 4):
        for j in range(4):
            if first + j < n:
                weight, v = w[first + j], vectors[ids[first + j]]
                for a in range(k):
                    chunk[j, a] = v[a]
                    scaled[j, a] = weight * v[a]
            else:
                chunk[j] = 0
                scaled[j] = 0
        for a in range(0, wide, 2):
            p0, p1, p2, p3 = scaled[0, a], scaled[1, a], scaled[2, a], scaled[3, a]
            q0, q1, q2, q3 = scaled[0, a + 1], scaled[1, a + 1], scaled[2, a + 1], scaled[3, a + 1]
            # From a multiple of 16 at or before the diagonal; the few numbers below it are never read.
            for b in range(a // 16 * 16, wide):
                y0, y1, y2, y3 = chunk[0, b], chunk[1, b], chunk[2, b], chunk[3, b]
                gram[a, b] += (p0 * y0 + p1 * y1) + (p2 * y2 + p3 * y3)
                gram[a + 1, b] += (q0 * y0 + q1 * y1) + (q2 * y2 + q3 * y3)


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def cholesky_in_place(gram, k):  # type: ignore[no-untyped-def]
    """Upper factor U with U'U = gram[:k, :k], over the upper triangle. A pivot that is not positive ends as NaN, which the caller sees."""
    for a in range(k):
        line = gram[a]
        whole = a - a % 4
        for c in range(0, whole, 4):
            u0, u1, u2, u3 = gram[c], gram[c + 1], gram[c + 2], gram[c + 3]
            f0, f1, f2, f3 = u0[a], u1[a], u2[a], u3[a]
            for b in range(a, k):
                line[b] -= (f0 * u0[b] + f1 * u1[b]) + (f2 * u2[b] + f3 * u3[b])
        for c in range(whole, a):
            factor, other = gram[c, a], gram[c]
            for b in range(a, k):
                line[b] -= factor * other[b]
        scale = 1 / np.sqrt(line[a])
        for b in range(a, k):
            line[b] *= scale


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def cholesky_solve(upper, x):  # type: ignore[no-untyped-def]
    """x becomes the solution of U'U y = x."""
    k = x.size
    for a in range(k):
        x[a] /= upper[a, a]
        value = x[a]
        for b in range(a + 1, k):
            x[b] -= value * upper[a, b]
    for a in range(k - 1, -1, -1):
        total = x[a]
        for b in range(a + 1, k):
            total -= upper[a, b] * x[b]
        x[a] = total / upper[a, a]
