"""ALS with its people in shards: what is many stays where it is, and only sums over people travel.

A shard holds the events and the vectors of its own people. The people's half-step needs nothing from other shards. The items' half-step is
the same conjugate gradient as in one process, where each product with the normal matrices is a sum over shards: per step one
[items, factors] array from each, however many people there are. The numbers are those of `ALS.fit` up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numba
import numpy as np

from sartor.errors import ConfigError, Diverged
from sartor.parts._normal import normal_product, start_residual
from sartor.parts.least_squares import solve_rows
from sartor.parts.threads import blas_alone, even, over_rows, threads
from sartor.progress import bar

if TYPE_CHECKING:
    from sartor.data.population import Population
    from sartor.recommend.als import ALS

SMALL = 1e-6
"""Relative residual below which float32 steps would only add noise, as in `parts.least_squares`."""


@dataclass(frozen=True, eq=False)
class Events:
    """What one shard is made from: rows of a CSR matrix [its people, items], and where its people's vectors start."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    items: int
    alpha: float
    own: np.ndarray


class Group(Protocol):
    """Shards in this process or elsewhere."""

    def call(self, name: str, *arguments: Any) -> Iterator[Any]:
        """The results of a method of every shard, in the order of the shards."""

    def close(self) -> None:
        """Give back what the shards hold."""


class PeopleShard:
    """The people of one shard in one process."""

    def __init__(self, events: Events) -> None:
        from scipy.sparse import csr_matrix

        matrix = csr_matrix((events.data, events.indices, events.indptr), shape=(events.indptr.size - 1, events.items))
        self.by_person, self.by_item = _Rows(matrix, events.alpha), _Rows(matrix.T.tocsr(), events.alpha)
        self.own = np.array(events.own)

    def counts(self) -> np.ndarray:
        """int64 [items], how many of these people have each."""
        return np.diff(self.by_item.indptr)

    def people_step(self, vectors: np.ndarray, gram: np.ndarray, solver: str, steps: int, seed: int) -> np.ndarray:
        """Solve for the people's vectors; float64 [factors, factors], their own Gram matrix."""
        rows = self.by_person
        with blas_alone():
            solve_rows(rows.indptr, rows.indices, rows.weights, rows.targets, vectors, self.own, base=gram, solver=solver, steps=steps, seed=seed)  # type: ignore[arg-type]
            return (self.own.T @ self.own).astype(np.float64)

    def start(self, inverse: np.ndarray, x: np.ndarray) -> np.ndarray:
        """These people's part of the items' first residuals: float32 [items, factors]."""
        self.fixed = np.ascontiguousarray(self.own @ inverse.T)
        x = np.array(x)  # What comes from another process is read-only, for which the loops would be compiled once more.
        out, rows = np.empty_like(x), self.by_item
        over_rows(_residuals, rows.bounds(x.shape[1]), rows.indptr, rows.indices, rows.weights, rows.targets, self.fixed, x, out)
        return out

    def product(self, direction: np.ndarray) -> np.ndarray:
        """These people's part of the product of each item's normal matrix with its direction: float32 [items, factors]."""
        direction = np.array(direction)
        out, rows = np.empty_like(direction), self.by_item
        over_rows(_products, rows.bounds(direction.shape[1]), rows.indptr, rows.indices, rows.weights, self.fixed, direction, out)
        return out

    def total(self) -> tuple[np.ndarray, int]:
        """Sum of the people's vectors and how many people there are."""
        return self.own.sum(axis=0, dtype=np.float64), len(self.own)


class _Rows:
    def __init__(self, matrix: Any, alpha: float) -> None:
        self.indptr, self.indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        self.weights = matrix.data * np.float32(alpha)
        self.targets = self.weights + np.float32(1)

    def bounds(self, k: int) -> np.ndarray:
        own = np.diff(self.indptr)
        return even(own + 1, 1 if self.indices.size * k < 100_000 else 8 * threads())


@numba.njit(cache=True, nogil=True)
def _residuals(first, last, indptr, indices, weights, targets, fixed, x, out):  # type: ignore[no-untyped-def]
    zero = fixed.dtype.type(0)
    for row in range(first, last):
        start, stop = indptr[row], indptr[row + 1]
        start_residual(indices[start:stop], weights[start:stop], targets[start:stop], fixed, zero, x[row], out[row])


@numba.njit(cache=True, nogil=True)
def _products(first, last, indptr, indices, weights, fixed, direction, out):  # type: ignore[no-untyped-def]
    zero = fixed.dtype.type(0)
    for row in range(first, last):
        start, stop = indptr[row], indptr[row + 1]
        normal_product(indices[start:stop], weights[start:stop], fixed, zero, direction[row], out[row])


class Local:
    """All shards in this process, one after the other."""

    def __init__(self, events: Iterator[Events]) -> None:
        self.shards = [PeopleShard(one) for one in events]

    def call(self, name: str, *arguments: Any) -> Iterator[Any]:
        return (getattr(shard, name)(*arguments) for shard in self.shards)

    def close(self) -> None:
        self.shards.clear()


def fit(method: ALS, population: Population, shards: int, spread: Callable[[Iterator[Events]], Group] = Local, *, progress: bool = False) -> ALS:
    """Fit ALS with its people in so many shards.

    Parameters
    ----------
    method: with `solver="cg"`, whose steps are sums over people.
    spread: puts shards somewhere: `Local`, or `ray_batch.Actors`.

    Raises `ConfigError` for another solver, `Diverged`.
    """
    if method.solver != "cg" or shards < 1:
        raise ConfigError(f"solver '{method.solver}' in {shards} shards", fix="ALS in shards needs solver='cg' and at least 1 shard")
    method._check()
    data = population.interactions()
    matrix, k = data.matrix(), method.factors
    rng = np.random.default_rng(method.seed)
    bounds = even(np.diff(matrix.indptr) + k, shards)

    def parts() -> Iterator[Events]:
        for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            rows = matrix[first:last]
            # Drawn part by part, these are the same numbers as drawn at once.
            own = rng.standard_normal((last - first, k), np.float32) * np.float32(0.01)
            yield Events(rows.indptr, rows.indices, rows.data, len(data.items), method.alpha, own)

    group = spread(parts())
    try:
        vectors, population_vector = _alternate(method, group, rng, len(data.items), progress)
    finally:
        group.close()
    method.items_, method.item_vectors_ = data.items, vectors
    method.gram_ = _ridge(vectors.T @ vectors, method.regularization).astype(np.float32)
    method.population_vector_ = population_vector
    method._seal()
    return method


def _alternate(method: ALS, group: Group, rng: np.random.Generator, items: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the items, and the mean of the people's."""
    vectors = rng.standard_normal((items, method.factors), np.float32) * np.float32(0.01)
    known = sum(group.call("counts")) > 0
    with bar("ALS in shards", method.iterations, enabled=progress, unit="iteration") as shown:
        for iteration in range(method.iterations):
            people = _ridge(vectors.T @ vectors, method.regularization)
            gram = sum(group.call("people_step", vectors, people, method.solver, method.solver_steps, method.seed))
            _items_step(group, _ridge(gram, method.regularization), vectors, method.solver_steps)
            vectors[~known] = 0
            if not np.isfinite(vectors).all():
                raise Diverged(f"vectors are not finite after iteration {iteration + 1}", fix="raise regularization", iteration=iteration + 1)
            shown.advance()
    sums = list(group.call("total"))
    return vectors, (sum(total for total, _ in sums) / sum(count for _, count in sums)).astype(np.float32)


def _ridge(gram: Any, regularization: float) -> np.ndarray:
    out = np.asarray(gram).astype(np.float64)
    out[np.diag_indices_from(out)] += regularization
    return out


def _items_step(group: Group, base: np.ndarray, vectors: np.ndarray, steps: int) -> None:
    """Conjugate gradient on all items at once, in place; `parts.least_squares.conjugate_gradient` with its products summed over shards."""
    from scipy.linalg import cholesky, solve_triangular

    factor = cholesky(base, lower=True)
    inverse = solve_triangular(factor, np.eye(len(base)), lower=True).astype(np.float32)
    x = vectors @ factor.astype(np.float32)
    residual = _sum(group.call("start", inverse, x)) - x
    left = _dots(residual, residual)
    enough = left * np.float32(SMALL) ** 2
    going = left > enough
    direction, rz = residual.copy(), left
    for _ in range(steps):
        if not going.any():
            break
        product = _sum(group.call("product", direction)) + direction
        curvature = _dots(direction, product)
        going &= curvature > 0
        length = np.where(going, rz / np.where(going, curvature, 1), 0)[:, None]
        x += length * direction
        residual -= length * product
        new = _dots(residual, residual)
        going &= new > enough
        direction = residual + np.where(going, new / np.where(rz > 0, rz, 1), 0)[:, None] * direction
        rz = new
    vectors[:] = x @ inverse


def _sum(parts: Iterator[np.ndarray]) -> np.ndarray:
    """Added as they come; never all in memory."""
    total: np.ndarray | None = None
    for part in parts:
        total = np.array(part) if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.einsum("ia,ia->i", a, b)
    return out
