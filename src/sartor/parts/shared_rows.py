"""Embedding tables with fewer rows than ids: an assignment says which row, or which two rows summed, an id has.

Every hasher makes an assignment int64 [ids] or [ids, 2] with values 0..rows-1; a downstream table does not care which one made it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.hashing import rows as hash_rows


class HashedTable(nn.Module):
    """Vectors [ids, dim] out of a table [rows, dim] and an assignment; two assigned rows are summed."""

    assignment: Tensor

    def __init__(self, assignment: np.ndarray, rows: int, dim: int, *, std: float = 0.1) -> None:
        super().__init__()
        if assignment.size and (assignment.min() < 0 or assignment.max() >= rows):
            raise ConfigError(f"the assignment names rows {assignment.min()}..{assignment.max()} of a table with {rows}", fix="renumber it")
        self.weight = nn.Parameter(torch.randn(rows, dim) * std)
        self.register_buffer("assignment", torch.from_numpy(assignment.astype(np.int64)), persistent=False)

    def forward(self) -> Tensor:
        """All vectors [ids, dim]."""
        if self.assignment.ndim == 1:
            return self.weight[self.assignment]
        return self.weight[self.assignment[:, 0]] + self.weight[self.assignment[:, 1]]


def modulo(ids: int, rows: int) -> np.ndarray:
    """id mod rows: what most systems do."""
    return np.arange(ids, dtype=np.int64) % _some(rows)


def frequency(counts: np.ndarray, rows: int) -> np.ndarray:
    """The most frequent ids have half of the rows for themselves, the rest share the other half by modulo."""
    own = _some(rows) // 2
    return with_own_rows(counts, modulo(counts.size, rows - own) if rows - own > 1 else np.zeros(counts.size, np.int64), rows - own, own)


def with_own_rows(counts: np.ndarray, assignment: np.ndarray, taken: int, own: int) -> np.ndarray:
    """An assignment to rows 0..taken-1, changed so that the `own` most frequent ids get rows of their own after those."""
    out = assignment.copy()
    # Stable, so that equally frequent ids are taken in their order.
    out[np.argsort(-counts, kind="stable")[:own]] = taken + np.arange(min(own, counts.size))
    return out


def universal(keys: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """A seeded hash of each key to a row."""
    return hash_rows(keys, _some(rows), salt=seed)


def double(ids: int, rows: int, seed: int = 0) -> np.ndarray:
    """Two independent hashes per id: two ids share both rows only with probability 1 / rows squared. int64 [ids, 2]."""
    keys = np.arange(ids)
    return np.stack([universal(keys, rows, 2 * seed + 1), universal(keys, rows, 2 * seed + 2)], 1)


def locality_sensitive(adjacency, rows: int, seed: int = 0) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Rows of a sparse adjacency matrix [ids, others] by the signs of random projections: ids with like neighbours collide.

    Source: Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002.
    """
    bits = max(1, int(np.ceil(np.log2(_some(rows)))))
    planes = np.random.default_rng([seed, adjacency.shape[1]]).standard_normal((adjacency.shape[1], bits)).astype(np.float32)
    codes = ((adjacency @ planes) > 0) @ (1 << np.arange(bits, dtype=np.int64))
    return codes % rows


def _some(rows: int) -> int:
    if rows < 2:
        raise ConfigError(f"a table with {rows} rows", fix="use at least 2")
    return rows
