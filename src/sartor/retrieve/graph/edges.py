"""Edges as they come: frames or arrays, checked, with ids mapped to node numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from sartor.data.ids import IdMap, id_column
from sartor.errors import BadValue, ConfigError, MissingColumn, UnknownId


def edge_columns(edges: Any) -> tuple[pl.Series, pl.Series, np.ndarray | None]:
    """Sources, targets and perhaps weights of a frame, a mapping, or two or three arrays; raises as `Graph.from_edges` says."""
    if isinstance(edges, pl.LazyFrame):
        edges = edges.collect()
    if isinstance(edges, Mapping):
        edges = pl.DataFrame(edges)
    if isinstance(edges, pl.DataFrame):
        if missing := [name for name in ("source", "target") if name not in edges.columns]:
            raise MissingColumn(f"edges have no column {missing}", fix=f"they have {edges.columns}", frame="edges", column=missing[0])
        weight = edges["weight"].cast(pl.Float64).fill_null(1.0).to_numpy() if "weight" in edges.columns else None
        sources, targets = id_column(edges["source"]), id_column(edges["target"])
    elif isinstance(edges, Sequence) and len(edges) in (2, 3):
        sources, targets = id_column(edges[0]), id_column(edges[1])
        weight = np.asarray(edges[2], np.float64) if len(edges) == 3 and edges[2] is not None else None
    else:
        raise ConfigError(f"edges are a {type(edges).__name__}", fix="give a frame with source and target, or two or three arrays")
    if len(sources) != len(targets) or (weight is not None and weight.size != len(sources)):
        raise ConfigError(f"{len(sources)} sources, {len(targets)} targets", fix="give one target (and weight) for each source")
    for name, series in (("source", sources), ("target", targets)):
        if series.null_count():
            row = int(np.flatnonzero(series.is_null().to_numpy())[0])
            raise BadValue("the id is missing", fix="leave the edge out", frame="edges", column=name, row=row)
    return sources, targets, None if weight is None else checked_weights(weight)


def checked_weights(weights: np.ndarray) -> np.ndarray:
    """float32; raises `BadValue` for a weight that is negative or not finite."""
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        what = f"the weight {weights[bad[0]]:g} is {'negative' if weights[bad[0]] < 0 else 'not finite'}"
        raise BadValue(what, fix="weights are strengths: positive numbers", frame="edges", column="weight", row=int(bad[0]))
    return np.asarray(weights, np.float32)


def node_numbers(ids: IdMap, nodes: pl.Series) -> np.ndarray:
    """int64; raises `UnknownId` naming the first node that is not there."""
    numbers = ids.numbers(nodes)
    missing = np.flatnonzero(numbers < 0)
    if missing.size:
        raise UnknownId(f"{missing.size} of {numbers.size} node ids are not in the graph", id=repr(nodes[int(missing[0])]), fix="add them as nodes")
    return numbers.astype(np.int64)
