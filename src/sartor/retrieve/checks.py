"""What comes into an index, checked: vectors, ids and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from sartor.data.ids import as_ids
from sartor.errors import BadValue, DuplicateRows, WrongType

Metric = Literal["ip", "cosine", "l2"]


def checked_vectors(vectors: np.ndarray, dim: int, metric: Metric, what: str = "vector") -> tuple[np.ndarray, np.ndarray | None]:
    """float32 [n, dim], of unit length for cosine, and for l2 what is added to inner products, float32 [n]; raises `BadValue`, `WrongType`."""
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise BadValue(f"a {what} has {vectors.shape[-1]} dimensions, the index {dim}", fix="use the encoder that the index was built with")
    if vectors.dtype.kind not in "fiu":
        raise WrongType(f"{what} values are of type {vectors.dtype}", fix="give numbers")
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(vectors, np.float32)
        squares = np.einsum("nd,nd->n", made, made)
    bad = np.flatnonzero(~np.isfinite(squares))
    if bad.size:
        raise BadValue(f"{what} {bad[0]} is not finite (NaN, infinite, or too long)", fix="leave it out", row=int(bad[0]))
    if metric == "cosine":
        if (zero := np.flatnonzero(squares < 1e-30)).size:
            row = int(zero[0])
            raise BadValue(f"{what} {row} has length 0; its direction is undefined", fix="leave it out, or use another metric", row=row)
        return made / np.sqrt(squares)[:, None], None
    return made, -squares / 2 if metric == "l2" else None


def new_ids(ids: Sequence[Any] | pl.Series, n: int, kind: pl.DataType) -> list[Any]:
    """Ids of n new rows, in the index's kind of ids; raises `BadValue`, `DuplicateRows`."""
    names = as_ids(ids, kind).to_list()
    if None in names:
        row = names.index(None)
        raise BadValue(f"an id is missing, or is not {kind} as the others are", fix="give every item an id of one kind", row=row)
    if len(names) != n:
        raise BadValue(f"{len(names)} ids for {n} vectors", fix="give one id per vector")
    if len(set(names)) < n:
        seen: set[Any] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DuplicateRows("an id occurs more than once", fix="give every vector an id of its own", id=repr(twice))
    return names


def attribute_table(attributes: pl.DataFrame | None, n: int) -> pl.DataFrame:
    """One row for each of n vectors, or no column at all; raises `BadValue`, `WrongType`."""
    if attributes is None:
        return pl.DataFrame()
    if not isinstance(attributes, pl.DataFrame):
        raise WrongType(f"attributes are a {type(attributes).__name__}", fix="give a polars DataFrame")
    if attributes.height != n:
        raise BadValue(f"{attributes.height} rows of attributes for {n} vectors", fix="give one row per vector")
    return attributes
