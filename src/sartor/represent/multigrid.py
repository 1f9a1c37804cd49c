"""Algebraic multigrid by pairwise matching: hierarchies of ever smaller graphs that keep one smooth vector, and solvers composed of several.

All levels of a hierarchy lie behind one another in the same arrays: unknowns are numbered over all levels, and the matrices are the blocks
of one block-diagonal CSR matrix.

Source: D'Ambra and Vassilevski, Adaptive AMG with coarsening based on compatible weighted matching, 2013; the matching is the Suitor
algorithm of Manne and Halappanavar, 2014, which finds at least half the greatest weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_EPSILON = float(np.finfo(np.float64).eps)
_STALLED = 1.2
"""A step that does not shrink the graph more than this is the last one."""
_DIRECT = 400
"""Up to how many unknowns the coarsest level is solved exactly; a larger one, of a coarsening that stalled, is relaxed."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Levels of one symmetric positive definite matrix, from fine to coarse."""

    bounds: np.ndarray
    """int64 [levels + 1]: level l has the unknowns bounds[l] to bounds[l + 1]."""
    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    """The block-diagonal matrix."""
    diagonal: np.ndarray
    parent: np.ndarray
    """int64 [unknowns]: the coarser unknown that an unknown is part of, -1 on the coarsest level."""
    share: np.ndarray
    """float64 [unknowns]: its entry of the prolongation; one per row."""
    inverse: np.ndarray
    """float64 [c, c]: of the coarsest matrix; empty where that is too large."""

    @property
    def levels(self) -> int:
        """How many there are."""
        return int(self.bounds.size) - 1

    @property
    def complexity(self) -> float:
        """Entries of all matrices relative to the finest one's."""
        return float(self.data.size / self.indptr[self.bounds[1]])


def hierarchy(matrix: csr_matrix, smooth: np.ndarray, *, sweeps: int = 2, coarsest: int = 10, most: int = 40) -> Hierarchy:
    """Coarsen by matching along the edges where the smooth vector says that energy is low, until few unknowns are left.

    Parameters
    ----------
    matrix: symmetric positive definite, with sorted indices and a full diagonal [n, n].
    smooth: float64 [n], a vector of low energy; the prolongations have it in their range.
    sweeps: pairwise matchings per level: 2 makes aggregates of up to 4.
    coarsest, most: unknowns and levels at which it ends.
    """
    matrices, parents, shares = [matrix], [], []
    while matrix.shape[0] > coarsest and len(matrices) < most:
        size = matrix.shape[0]
        parent, share = np.arange(size), np.ones(size)
        coarse, vector = matrix, smooth
        for _ in range(sweeps):
            pairs, of_pairs = _pairs(coarse, vector)
            coarse, vector = _galerkin(coarse, pairs, of_pairs), np.bincount(pairs, of_pairs * vector)
            share, parent = share * of_pairs[parent], pairs[parent]
        if size < _STALLED * coarse.shape[0]:
            break
        matrix, smooth = coarse, vector
        matrices.append(matrix)
        parents.append(parent)
        shares.append(share)
    sizes = np.array([one.shape[0] for one in matrices])
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    starts = np.concatenate([[0], np.cumsum([one.nnz for one in matrices])])
    last = matrices[-1]
    return Hierarchy(
        bounds=bounds,
        indptr=np.concatenate([*[one.indptr[:-1] + start for one, start in zip(matrices, starts, strict=False)], starts[-1:]]).astype(np.int64),
        indices=np.concatenate([one.indices + start for one, start in zip(matrices, bounds, strict=False)]).astype(np.int64),
        data=np.concatenate([one.data for one in matrices]),
        diagonal=np.concatenate([one.diagonal() for one in matrices]),
        parent=np.concatenate([*[one + start for one, start in zip(parents, bounds[1:], strict=False)], np.full(sizes[-1], -1)]).astype(np.int64),
        share=np.concatenate([*shares, np.zeros(sizes[-1])]),
        inverse=np.linalg.inv(last.toarray()) if sizes[-1] <= _DIRECT else np.empty((0, 0)),
    )


def energy(matrix: csr_matrix, x: np.ndarray) -> float:
    """The norm sqrt(x' A x)."""
    return float(np.sqrt(max(0.0, x @ (matrix @ x))))


def smooth_vector(matrix: csr_matrix, hierarchies: Sequence[Hierarchy], start: np.ndarray, *, iterations: int = 15) -> tuple[np.ndarray, float]:
    """What the composite solver finds hardest to get rid of, at unit energy, and by how much its last iteration reduced it.

    Every iteration goes through all hierarchies, one V-cycle each, on A x = 0.
    """
    x, ratio = start / energy(matrix, start), 0.0
    for _ in range(iterations):
        for one in hierarchies:
            _cycle(x, one.bounds, one.indptr, one.indices, one.data, one.diagonal, one.parent, one.share, one.inverse)
        # Scaled every time: what is small in the end is the ratio, not the numbers.
        ratio = energy(matrix, x)
        if not ratio > np.finfo(np.float64).tiny:
            break
        x /= ratio
    return x, ratio


def _pairs(matrix: csr_matrix, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One pairwise aggregation: each unknown's aggregate int64, and its share of the vector there, of unit length in every aggregate."""
    mate = _suitor(matrix.indptr, matrix.indices, _weights(matrix.indptr, matrix.indices, matrix.data, matrix.diagonal(), vector))
    own = np.arange(mate.size)
    single = (mate < 0) | (mate[mate] != own)
    first = np.where(single, own, np.minimum(own, mate))
    _, aggregate = np.unique(first, return_inverse=True)
    # A vector that is 0 on an aggregate says nothing about it: its members count alike.
    length = np.sqrt(np.bincount(aggregate, vector**2))
    flat = np.sqrt(np.bincount(aggregate))
    return aggregate, np.where(length[aggregate] > _EPSILON, vector / np.maximum(length[aggregate], _EPSILON), 1 / flat[aggregate])


def _galerkin(matrix: csr_matrix, parent: np.ndarray, share: np.ndarray) -> csr_matrix:
    """P' A P, where P has one entry per row."""
    from scipy.sparse import csr_matrix

    p = csr_matrix((share, parent, np.arange(parent.size + 1)), shape=(parent.size, int(parent.max()) + 1))
    coarse = (p.T @ (matrix @ p)).tocsr()
    coarse.sort_indices()
    return coarse


@numba.njit(nogil=True, cache=True)
def _weights(indptr, indices, data, diagonal, vector):  # type: ignore[no-untyped-def]
    """Of an edge: 1 - 2 a_ij w_i w_j / (a_ii w_i^2 + a_jj w_j^2); the greater, the less energy a pair that follows the vector has."""
    out = np.zeros(indices.size)
    for row in range(indptr.size - 1):
        for at in range(indptr[row], indptr[row + 1]):
            column = indices[at]
            if column != row:
                norm = diagonal[row] * vector[row] ** 2 + diagonal[column] * vector[column] ** 2
                out[at] = 1.0 - 2.0 * data[at] * vector[row] * vector[column] / norm if norm > _EPSILON else _EPSILON
    return out


@numba.njit(nogil=True, cache=True)
def _suitor(indptr, indices, weights):  # type: ignore[no-untyped-def]
    """Who each unknown is matched with, -1 for nobody: everybody proposes to the heaviest neighbour whom nobody heavier courts."""
    n = indptr.size - 1
    suitor, offer = np.full(n, -1, np.int64), np.zeros(n)
    for start in range(n):
        current = start
        while current >= 0:
            best, heaviest = -1, 0.0
            for at in range(indptr[current], indptr[current + 1]):
                other = indices[at]
                if other != current and weights[at] > heaviest and weights[at] > offer[other]:
                    best, heaviest = other, weights[at]
            if best < 0:
                break
            turned_down = suitor[best]
            suitor[best], offer[best] = current, heaviest
            current = turned_down
    return suitor


@numba.njit(nogil=True, cache=True)
def _relax(x, rhs, first, last, backwards, indptr, indices, data, diagonal):  # type: ignore[no-untyped-def]
    """One Gauss-Seidel sweep over some unknowns."""
    for step in range(last - first):
        row = last - 1 - step if backwards else first + step
        left = rhs[row]
        for at in range(indptr[row], indptr[row + 1]):
            left -= data[at] * x[indices[at]]
        x[row] += left / diagonal[row]


@numba.njit(nogil=True, cache=True)
def _cycle(start, bounds, indptr, indices, data, diagonal, parent, share, inverse):  # type: ignore[no-untyped-def]
    """One V-cycle on A x = 0, in place: a forward sweep on the way down, a backward one on the way up."""
    total, levels = bounds[-1], bounds.size - 1
    x, rhs = np.zeros(total), np.zeros(total)
    x[: bounds[1]] = start
    for level in range(levels - 1):
        first, last = bounds[level], bounds[level + 1]
        _relax(x, rhs, first, last, False, indptr, indices, data, diagonal)
        for row in range(first, last):
            left = rhs[row]
            for at in range(indptr[row], indptr[row + 1]):
                left -= data[at] * x[indices[at]]
            rhs[parent[row]] += share[row] * left
    first = bounds[levels - 1]
    if inverse.size:
        for row in range(inverse.shape[0]):
            value = 0.0
            for column in range(inverse.shape[0]):
                value += inverse[row, column] * rhs[first + column]
            x[first + row] = value
    else:
        for step in range(8):
            _relax(x, rhs, first, total, step % 2 == 1, indptr, indices, data, diagonal)
    for back in range(levels - 1):
        level = levels - 2 - back
        first, last = bounds[level], bounds[level + 1]
        for row in range(first, last):
            x[row] += share[row] * x[parent[row]]
        _relax(x, rhs, first, last, True, indptr, indices, data, diagonal)
    start[:] = x[: bounds[1]]
