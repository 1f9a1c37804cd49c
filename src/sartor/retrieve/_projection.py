"""Pairs of projections that keep inner products of queries and items with few numbers: A for queries, B for items, float [dim, dims] each.

All three minimise the squared error of the inner products, ||Q^T (X - A B^T X)||, by what they may choose:

- `pca`: A = B, the directions in which the items vary most; nothing need be known of the queries.
- `frank_wolfe`: A and B with orthonormal columns, for queries that differ from the items. Block-coordinate Frank-Wolfe steps from zero.
- `closed_form`: any A and B. With G of the queries and H of the items, the best rank-dims approximation of G^1/2 H^1/2 gives both. Its strength is
  shared between them: projected items and queries vary alike, and items that queries tell apart lie apart, as a graph over them needs.

Source: Tepper et al., LeanVec: Searching vectors faster by making them fit, TMLR 2024 (the first two); the third is the unconstrained
problem's own solution.
"""

from __future__ import annotations

import logging

import numpy as np

log = logging.getLogger(__name__)

STEPS, TOLERANCE, POWER = 500, 1e-3, 0.999
"""Of Frank-Wolfe: at most so many steps, until the loss changes by less than this share; step t is 1 / (t + 1)^POWER."""
RIDGE = 1e-5
"""Added to second moments, as a share of their mean eigenvalue, so that their roots can be inverted."""


def moment(vectors: np.ndarray) -> np.ndarray:
    """float64 [dim, dim]: mean of x x^T."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for at in range(0, len(vectors), 8192):
        part = vectors[at : at + 8192].astype(np.float32, copy=False)
        total += part.T @ part
    return total / len(vectors)


def pca(items: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """The `dims` leading eigenvectors of the items' second moment [dim, dim], twice."""
    from scipy.linalg import eigh

    dim = len(items)
    _, vectors = eigh(items, subset_by_index=(dim - dims, dim - 1))
    leading = np.ascontiguousarray(vectors[:, ::-1])
    return leading, leading


def frank_wolfe(items: np.ndarray, queries: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """From the second moments of items and queries."""
    h, g = items / np.trace(items), queries / np.trace(queries)
    a, b = np.zeros((len(h), dims)), np.zeros((len(h), dims))
    gh, whole, before = g @ h, float(np.sum(g * h)), np.inf
    for step in range(STEPS):
        rate = 1 / (step + 1) ** POWER
        hb = h @ b
        a = (1 - rate) * a + rate * _steepest(2 * g @ (a @ (b.T @ hb)) - 2 * gh @ b)
        ga = g @ a
        b = (1 - rate) * b + rate * _steepest(2 * h @ (b @ (a.T @ ga)) - 2 * gh.T @ a)
        loss = float(np.sum((a.T @ ga) * (b.T @ (h @ b))) - 2 * np.sum((gh.T @ a) * b)) + whole
        if step > 1 and abs(before - loss) < TOLERANCE * before:
            break
        before = loss
    return a, b


def closed_form(items: np.ndarray, queries: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """From the second moments of items and queries. Projected, both have the same one."""
    g, g_inverse = _root(queries / np.trace(queries))
    h, h_inverse = _root(items / np.trace(items))
    left, sizes, right = np.linalg.svd(g @ h)
    roots = np.sqrt(sizes[:dims])
    return g_inverse @ (left[:, :dims] * roots), h_inverse @ (right[:dims].T * roots)


def _root(second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The root of a second moment and its inverse; a ridge makes one of lower rank whole, and is reported."""
    values, vectors = np.linalg.eigh(second)
    ridge = RIDGE * max(values.mean(), 1e-30)
    if short := int((values < ridge).sum()):
        log.warning("the vectors span %d of %d dimensions: a ridge of %.2g is added to learn the projection", len(values) - short, len(values), ridge)
    roots = np.sqrt(np.maximum(values, 0) + ridge)
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def _steepest(gradient: np.ndarray) -> np.ndarray:
    """The matrix with orthonormal columns that falls fastest along a gradient; where there is none, the first axes."""
    if not gradient.any():
        return np.eye(*gradient.shape)
    left, _, right = np.linalg.svd(-gradient, full_matrices=False)
    return np.asarray(left @ right)
