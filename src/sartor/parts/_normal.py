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


BLAS_ALONE = 262_144
"""Multiply-adds up to which OpenBLAS stays in the calling thread; our own threads must not wait for each other inside it."""


@numba.njit(cache=True, nogil=True)
def workspace(k, vectors):  # type: ignore[no-untyped-def]
    """Scratch for `normal_matrix`: the result [k, k], two gathers and a product."""
    size = max(8, BLAS_ALONE // (k * k))
    dtype = vectors.dtype
    return np.empty((k, k), dtype), np.empty((size, k), dtype), np.empty((size, k), dtype), np.empty((k, k), dtype)


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def normal_matrix(ids, w, vectors, shift, gram, own, scaled, product):  # type: ignore[no-untyped-def]
    """Upper triangle of sum w v v' + shift I into `gram`, by matrix products of a few entries at a time."""
    n, k, size = ids.size, vectors.shape[1], own.shape[0]
    gram[:] = 0
    for a in range(k):
        gram[a, a] = shift
    for first in range(0, n, size):
        some = min(size, n - first)
        for j in range(some):
            at, weight = ids[first + j], w[first + j]
            for a in range(k):
                own[j, a] = vectors[at, a]
                scaled[j, a] = weight * vectors[at, a]
        np.dot(scaled[:some].T, own[:some], product)
        for a in range(k):
            for b in range(a, k):
                gram[a, b] += product[a, b]


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
