"""Many small ridge problems at once, one per row of a sparse matrix: the inner step of every alternating factorisation.

For each row i with entries j, weights w and targets t, with the other side's vectors V fixed, find

    x_i = argmin  sum_j w_ij (v_j . x)^2 - 2 sum_j t_ij v_j . x + x' B x

`t = w * b` fits values b (explicit ratings); `w = c - 1, t = c, B = V'V + ridge` is implicit feedback (Hu, Koren and Volinsky, ICDM 2008).

Three solvers, one contract:

- "exact": the k x k normal equations by Cholesky; n k^2 + k^3 multiplications for a row of n entries.
- "cg": a few steps of Jacobi-preconditioned conjugate gradient from the last solution; n k per step.
- "sketch": n k as well, but to any accuracy: CountSketch the row's vectors to a few k rows, and use their Cholesky factor as the
  preconditioner. It pays where n is far above 4 k; rows below that are solved by plain "cg" steps to the same tolerance.

A shared B is removed before anything else: with B = L L', the problem in z = L' x and vectors L^-1 v has the identity in its place. That
saves a k x k product per step, and is itself a strong preconditioner, since B is the part that all rows have in common.
"""

from __future__ import annotations

from typing import Literal, get_args

import numba
import numpy as np

from sartor.errors import ConfigError
from sartor.parts._normal import (
    FAST,
    cholesky_in_place,
    cholesky_solve,
    combine,
    diagonal,
    gather,
    normal_matrix,
    normal_product,
    start_residual,
    workspace,
)
from sartor.parts.threads import even, over_rows, threads

Solver = Literal["exact", "cg", "sketch"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)

PLAIN, JACOBI, SKETCH = 0, 1, 2
"""Preconditioners of the iterative solvers: none (a shared B was removed already), the diagonal, a sketch."""
SKETCH_ROWS = 4
"""Rows of a sketch, in multiples of k."""
_GATHER = 4096
"""Rows up to so many entries are copied together before the passes over them; longer ones are read where they lie."""


def solve_rows(
    indptr: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    targets: np.ndarray,
    vectors: np.ndarray,
    out: np.ndarray,
    *,
    base: np.ndarray | None = None,
    ridge: np.ndarray | float = 0.0,
    solver: Solver = "exact",
    steps: int = 3,
    tolerance: float = 0.0,
    seed: int = 0,
) -> None:
    """Solve every row's problem, in place.

    Parameters
    ----------
    indptr, indices: int64 [rows + 1] and int32 [entries], the rows of a CSR matrix.
    weights, targets: [entries], `w` and `t` above.
    vectors: [columns, k], the fixed side; float32 or float64, which is also the precision of the work.
    out: [rows, k] of the same type: the last solution on entry (where "cg" and "sketch" start; "exact" ignores it), the new one on return.
    base: [k, k], symmetric positive definite, shared by all rows (`B`, when it is not a multiple of the identity).
    ridge: `B` as a multiple of the identity, one for all rows or one each; not together with `base`.
    solver, steps, tolerance: which solver; the iterative ones take at most `steps` steps, and stop when the residual has fallen to
        `tolerance` times the right-hand side.
    seed: of the sketches.

    A row without entries gets zeros, the ridge's own answer.
    """
    if solver not in SOLVERS:
        raise ConfigError(f"there is no solver '{solver}'", fix=f"use one of {', '.join(SOLVERS)}")
    rows, k = out.shape
    if not rows:
        return
    dtype = vectors.dtype
    weights, targets = np.ascontiguousarray(weights, dtype), np.ascontiguousarray(targets, dtype)
    if indices.size < vectors.shape[0]:
        # A few people against a large catalogue: only their items matter.
        used, indices = np.unique(indices, return_inverse=True)
        vectors, indices = vectors[used], indices.astype(np.int32)
    factor = None
    if base is not None:
        from scipy.linalg import cholesky, solve_triangular

        factor = cholesky(base.astype(np.float64), lower=True)
        # k is small and the ridge keeps B well conditioned, so a product with the inverse loses nothing that the type could hold.
        inverse = solve_triangular(factor, np.eye(k), lower=True).astype(dtype)
        vectors = vectors @ inverse.T
        if solver != "exact":
            out[:] = out @ factor.astype(dtype)
        ridge = 1.0
    shift = np.ascontiguousarray(np.broadcast_to(np.asarray(ridge, dtype), rows))
    vectors = np.ascontiguousarray(vectors)
    own = np.diff(indptr)
    bounds = even(own + k * (own > 0), 1 if indices.size * k < 100_000 else 8 * threads())
    shared = (indptr, indices, weights, targets, vectors, shift, out)
    if solver == "exact":
        over_rows(_exact, bounds, *shared)
    else:
        kind = SKETCH if solver == "sketch" else PLAIN if base is not None else JACOBI
        over_rows(_iterate, bounds, *shared, int(min(own.max(), _GATHER)), steps, float(tolerance), kind, np.uint64(seed))
    if factor is not None:
        out[:] = out @ inverse


@numba.njit(cache=True, nogil=True)
def _exact(first, last, indptr, indices, weights, targets, vectors, shift, out):  # type: ignore[no-untyped-def]
    k = vectors.shape[1]
    gram, own, scaled, product = workspace(k, vectors)
    for row in range(first, last):
        start, stop = indptr[row], indptr[row + 1]
        if start == stop:
            out[row] = 0
            continue
        ids = indices[start:stop]
        combine(ids, targets[start:stop], vectors, out[row])
        normal_matrix(ids, weights[start:stop], vectors, shift[row], gram, own, scaled, product)
        cholesky_in_place(gram, k)
        cholesky_solve(gram, out[row])


@numba.njit(cache=True, nogil=True)
def _iterate(first, last, indptr, indices, weights, targets, vectors, shift, out, longest, steps, tolerance, kind, seed):  # type: ignore[no-untyped-def]
    k = vectors.shape[1]
    own, order = np.empty((longest, k), vectors.dtype), np.arange(longest).astype(np.int32)
    work = np.empty((5, k), vectors.dtype)
    gram, block, scaled, product = workspace(k if kind == SKETCH else 1, vectors)
    sketch = np.empty((SKETCH_ROWS * k if kind == SKETCH else 1, k), vectors.dtype)
    ones, buckets = np.ones(sketch.shape[0], vectors.dtype), np.arange(sketch.shape[0]).astype(np.int32)
    for row in range(first, last):
        start, stop = indptr[row], indptr[row + 1]
        n = stop - start
        if n == 0:
            out[row] = 0
            continue
        ids, w, t, fixed = indices[start:stop], weights[start:stop], targets[start:stop], vectors
        if n <= longest:
            gather(ids, vectors, own)
            ids, fixed = order[:n], own
        use = JACOBI if kind == SKETCH and n <= SKETCH_ROWS * k else kind
        if use == SKETCH:
            count_sketch(ids, w, fixed, seed + np.uint64(row), sketch)
            normal_matrix(buckets, ones, sketch, shift[row], gram, block, scaled, product)
            cholesky_in_place(gram, k)
        conjugate_gradient(ids, w, t, fixed, shift[row], out[row], work, steps, tolerance, use, gram)


@numba.njit(cache=True, nogil=True)
def count_sketch(ids, w, vectors, seed, out):  # type: ignore[no-untyped-def]
    """Every entry's vector, times the root of its weight and a random sign, is added to a random row of the sketch (Clarkson and Woodruff, 2013)."""
    out[:] = 0
    for j in range(ids.size):
        # SplitMix64 of seed and position: the same sketch whichever thread makes it.
        z = seed * np.uint64(0xD1342543DE82EF95) + np.uint64(j + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        scale = np.sqrt(max(w[j], w[j] * 0)) * (1 if z & np.uint64(1) else -1)
        bucket = (z >> np.uint64(1)) % np.uint64(out.shape[0])
        v = vectors[ids[j]]
        for a in range(v.size):
            out[bucket, a] += scale * v[a]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def conjugate_gradient(ids, w, t, vectors, shift, x, work, steps, tolerance, kind, upper):  # type: ignore[no-untyped-def]
    """Preconditioned conjugate gradient from x, in place."""
    k = x.size
    residual, direction, product, inverse, scaled = work[0], work[1], work[2], work[3], work[4]
    zero = shift * 0
    enough = zero
    if tolerance > 0:
        combine(ids, t, vectors, residual)
        for a in range(k):
            enough += residual[a] * residual[a]
        enough *= tolerance * tolerance
    if kind == JACOBI:
        diagonal(ids, w, vectors, shift, inverse)
        for a in range(k):
            inverse[a] = 1 / inverse[a] if inverse[a] > 0 else zero + 1
    start_residual(ids, w, t, vectors, shift, x, residual)
    # Below rounding, further steps would only add noise.
    precision = zero + (1e-6 if vectors.itemsize == 4 else 1e-15)
    left = zero
    for a in range(k):
        left += residual[a] * residual[a]
    enough = max(enough, left * precision * precision)
    rz = zero
    for step in range(steps):
        left = zero
        for a in range(k):
            left += residual[a] * residual[a]
            scaled[a] = residual[a] * inverse[a] if kind == JACOBI else residual[a]
        if left <= enough:
            return
        if kind == SKETCH:
            cholesky_solve(upper, scaled)
        new = zero
        for a in range(k):
            new += residual[a] * scaled[a]
        if not new > 0:
            return
        if step == 0:
            direction[:] = scaled
        else:
            ratio = new / rz
            for a in range(k):
                direction[a] = scaled[a] + ratio * direction[a]
        rz = new
        normal_product(ids, w, vectors, shift, direction, product)
        curvature = zero
        for a in range(k):
            curvature += direction[a] * product[a]
        if not curvature > 0:
            return
        length = rz / curvature
        for a in range(k):
            x[a] += length * direction[a]
            residual[a] -= length * product[a]
