"""A graph as compressed sparse rows: ids mapped once, edges sorted, a version that counts changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor import _storage
from sartor.data.ids import IdMap, Ids, id_column
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, FileProblem, UnknownId
from sartor.retrieve.graph.edges import checked_weights, edge_columns, node_numbers

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_IN_DICT, _FEW = 2_000_000, 1000
"""Up to how many nodes a dict of them is kept (some 100 bytes each), and for how many it is asked."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes 0..n-1 and their edges, immutable; `changed` makes the next version. An undirected edge is stored in both directions."""

    ids: IdMap
    """What the node numbers stand for."""
    indptr: np.ndarray
    """int64 [n + 1]."""
    indices: np.ndarray
    """int32 [arcs], targets; sorted and distinct inside each row."""
    weights: np.ndarray | None = None
    """float32 [arcs], positive; None where every edge counts 1."""
    directed: bool = False
    version: int = 1
    """One more for every `changed`."""

    @classmethod
    def from_edges(
        cls, edges: pl.DataFrame | pl.LazyFrame | tuple[Ids, Ids] | tuple[Ids, Ids, Any], *, nodes: Ids | None = None, directed: bool = False
    ) -> Graph:
        """From a frame with `source`, `target` and perhaps `weight` (other columns are ignored), or from arrays of them.

        nodes: all ids there are, in the order of their numbers; default: those that have an edge, sorted. Edges that occur more than once
        are one: their weights are summed, or, without weights, it counts 1. An edge of weight 0 is no edge.

        Raises `MissingColumn`, `UnknownId` for an edge to a node that is not among `nodes`, `BadValue` for a missing id and for a weight
        that is negative, NaN or infinite, `EmptyData` when there is neither node nor edge.
        """
        sources, targets, weights = edge_columns(edges)
        if nodes is None:
            kind = pl.Int64() if sources.dtype.is_integer() and targets.dtype.is_integer() else pl.String()
            ids = IdMap.of(pl.concat([sources.cast(kind).rename("node"), targets.cast(kind).rename("node")]))
        else:
            ids = IdMap(id_column(nodes), name="node")
            if ids.ids.n_unique() != len(ids):
                raise BadValue("a node occurs twice", fix="give each node once", id=repr(ids.ids.filter(ids.ids.is_duplicated())[0]))
        if not len(ids):
            raise EmptyData("the graph has no node", fix="give edges, or nodes")
        return cls._of(ids, node_numbers(ids, sources), node_numbers(ids, targets), weights, directed)

    @classmethod
    def from_matrix(cls, matrix: Any, *, ids: Ids | None = None, directed: bool | None = None) -> Graph:
        """From a square scipy matrix, row = from, column = to; default ids: 0..n-1.

        directed: default: whether the matrix differs from its transpose; False for one that does is an error. All stored values equal
        to 1 means a graph without weights.
        """
        matrix = matrix.tocsr()
        n = matrix.shape[0]
        if matrix.shape != (n, n):
            raise ConfigError(f"the matrix is {matrix.shape[0]} x {matrix.shape[1]}", fix="an adjacency matrix is square")
        named = IdMap(np.arange(n) if ids is None else id_column(ids), name="node")
        if len(named) != n:
            raise ConfigError(f"{len(named)} ids for {n} nodes", fix="give one id per row")
        asymmetric = (matrix != matrix.T).nnz > 0
        if directed is False and asymmetric:
            raise ConfigError("the matrix is not symmetric", fix="give directed=True, or matrix + matrix.T")
        rows = np.repeat(np.arange(n, dtype=np.int64), np.diff(matrix.indptr))
        weights = None if np.all(matrix.data == 1) else checked_weights(matrix.data)
        return cls._of(named, rows, matrix.indices.astype(np.int64), weights, asymmetric if directed is None else directed, both_stored=True)

    @classmethod
    def from_arrays(cls, indptr: np.ndarray, indices: np.ndarray) -> Graph:
        """An undirected graph without weights from CSR arrays that a graph like this had; its ids are 0..n-1. Nothing is checked."""
        return cls(IdMap(np.arange(indptr.size - 1), name="node"), indptr, indices)

    @classmethod
    def _of(
        cls, ids: IdMap, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray | None, directed: bool, *, both_stored: bool = False,
        version: int = 1,
    ) -> Graph:  # fmt: skip
        if not directed and not both_stored:
            # A loop is one arc, not two.
            other = rows != columns
            rows, columns = np.concatenate([rows, columns[other]]), np.concatenate([columns, rows[other]])
            weights = None if weights is None else np.concatenate([weights, weights[other]])
        if weights is not None:
            there = weights > 0
            rows, columns, weights = rows[there], columns[there], weights[there]
        n = len(ids)
        keys, at = np.unique(rows * np.int64(n) + columns, return_inverse=True)
        summed = None if weights is None else np.bincount(at, weights, keys.size).astype(np.float32)
        indptr = np.searchsorted(keys, np.arange(n + 1, dtype=np.int64) * n).astype(np.int64)
        return cls(ids, indptr, (keys % max(n, 1)).astype(np.int32), summed, directed, version)

    # --- what it is

    def __repr__(self) -> str:
        kind = "directed" if self.directed else "undirected"
        return f"Graph({len(self):,} nodes, {self.arcs:,} arcs, {kind}{', weighted' if self.weights is not None else ''}, version {self.version})"

    def __len__(self) -> int:
        return int(self.indptr.size) - 1

    @property
    def arcs(self) -> int:
        """Stored edges: twice as many as there are in an undirected graph (a loop counts once)."""
        return int(self.indices.size)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.indptr.nbytes + self.indices.nbytes + (0 if self.weights is None else self.weights.nbytes)

    @cached_property
    def degrees(self) -> np.ndarray:
        """int64 [n], out-degrees."""
        return np.diff(self.indptr)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over edges and weights."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.indptr).data, digest_size=8)
        digest.update(np.ascontiguousarray(self.indices).data)
        if self.weights is not None:
            digest.update(np.ascontiguousarray(self.weights).data)
        return digest.hexdigest()

    @cached_property
    def cumulative(self) -> np.ndarray:
        """float32 [arcs]: running share of each row's weight, 1 at its end; empty without weights. What a walker draws its next node by."""
        if self.weights is None:
            return np.empty(0, np.float32)
        running = np.cumsum(self.weights, dtype=np.float64)
        before = np.concatenate([[0.0], running])[self.indptr]
        total = np.repeat(before[1:] - before[:-1], self.degrees)
        share = ((running - np.repeat(before[:-1], self.degrees)) / total).astype(np.float32)
        share[self.indptr[1:][self.degrees > 0] - 1] = 1.0
        return share

    @cached_property
    def shares(self) -> np.ndarray:
        """float32 [arcs]: each edge's share of its row's weight; empty without weights, where it is 1 / degree."""
        if self.weights is None:
            return np.empty(0, np.float32)
        rows = np.repeat(np.arange(len(self)), self.degrees)
        return (self.weights / np.bincount(rows, self.weights, len(self))[rows]).astype(np.float32)

    def matrix(self) -> csr_matrix:
        """As scipy CSR float32 [n, n]."""
        from scipy.sparse import csr_matrix

        data = np.ones(self.arcs, np.float32) if self.weights is None else self.weights
        return csr_matrix((data, self.indices, self.indptr), shape=(len(self), len(self)))

    def transition(self) -> csr_matrix:
        """D^-1 A as scipy CSR float64 [n, n]; a row without edges is zero."""
        matrix = self.matrix().astype(np.float64)
        matrix.data /= np.repeat(np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1e-300), self.degrees)
        return matrix

    def number(self, nodes: Ids) -> np.ndarray:
        """int64 numbers of node ids; raises `UnknownId` naming the first that is not there."""
        return node_numbers(self.ids, id_column(nodes))

    def find(self, nodes: Sequence[Any]) -> np.ndarray:
        """int64 numbers of a few node ids, -1 where there is no such node; in microseconds, where a join of columns takes half a millisecond."""
        if len(self) <= _IN_DICT and len(nodes) <= _FEW:
            try:
                found = [self._lookup.get(one, -1) for one in nodes]
            except TypeError:
                # Something that cannot be an id: what follows says so.
                found = [-1]
            if -1 not in found:
                return np.array(found, np.int64)
        return self.ids.numbers(nodes).astype(np.int64)

    @cached_property
    def _lookup(self) -> dict[Any, int]:
        return {one: number for number, one in enumerate(self.ids.ids.to_list())}

    # --- what changes

    def changed(self, *, add: Any = None, remove: Any = None) -> Graph:
        """The next version, with edges added and taken away; both as in `from_edges`, weights of `remove` are ignored.

        New nodes get the next numbers; old ones keep theirs. An added edge that exists gains weight (without weights: stays as it is).
        Raises `UnknownId` for the removal of an edge that is not there.
        """
        ids, n = self.ids, len(self)
        keys = np.repeat(np.arange(n, dtype=np.int64), self.degrees), self.indices.astype(np.int64)
        weights = self.weights
        if remove is not None:
            sources, targets, _ = edge_columns(remove)
            rows, columns = node_numbers(ids, sources), node_numbers(ids, targets)
            if not self.directed:
                rows, columns = np.concatenate([rows, columns]), np.concatenate([columns, rows])
            gone, own = rows * n + columns, keys[0] * n + keys[1]
            missing = np.flatnonzero(~np.isin(gone, own))
            if missing.size:
                pair = (ids.array[rows[missing[0]]], ids.array[columns[missing[0]]])
                raise UnknownId("there is no such edge to remove", id=f"{pair[0]!r} - {pair[1]!r}", fix="remove edges that are there")
            keep = ~np.isin(own, gone)
            keys, weights = (keys[0][keep], keys[1][keep]), None if weights is None else weights[keep]
        if add is not None:
            sources, targets, extra = edge_columns(add)
            fresh = pl.concat([ids.coerce(sources).rename("node"), ids.coerce(targets).rename("node")])
            if fresh.null_count():
                raise BadValue("an id is missing or is not of this graph's type", fix=f"ids here are {ids.ids.dtype}")
            new = fresh.unique(maintain_order=True).filter(pl.Series(ids.numbers(fresh.unique(maintain_order=True)) < 0))
            ids = IdMap(pl.concat([ids.ids.rename("node"), new]), name=ids.name) if len(new) else ids
            rows, columns = node_numbers(ids, sources), node_numbers(ids, targets)
            if not self.directed:
                other = rows != columns
                rows, columns = np.concatenate([rows, columns[other]]), np.concatenate([columns, rows[other]])
                extra = None if extra is None else np.concatenate([extra, extra[other]])
            if weights is not None or extra is not None:
                old = np.ones(keys[0].size, np.float32) if weights is None else weights
                weights = np.concatenate([old, np.ones(rows.size, np.float32) if extra is None else extra])
            keys = np.concatenate([keys[0], rows]), np.concatenate([keys[1], columns])
        return Graph._of(ids, keys[0], keys[1], weights, self.directed, both_stored=True, version=self.version + 1)

    def rows_changed(self, after: Graph) -> np.ndarray:
        """bool [nodes of the later version]: whose outgoing edges differ, in targets or in weights."""
        n = len(after)
        before = np.pad(self.indptr, (0, n - len(self)), mode="edge")
        same = np.diff(before) == after.degrees
        # Rows of equal length are compared entry by entry; an absent weight is 1.
        rows = np.flatnonzero(same & (after.degrees > 0))
        lengths = after.degrees[rows]
        offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        old, new = np.repeat(before[rows], lengths) + offset, np.repeat(after.indptr[rows], lengths) + offset
        differs = self.indices[old] != after.indices[new]
        if self.weights is not None or after.weights is not None:
            differs |= (1.0 if self.weights is None else self.weights[old]) != (1.0 if after.weights is None else after.weights[new])
        changed = ~same
        changed[np.repeat(rows, lengths)[differs]] = True
        return changed

    # --- on disk

    def save(self, file: str | Path) -> Path:
        """Write one safetensors file, all or nothing."""
        arrays = {"indptr": self.indptr, "indices": self.indices, **{f"ids.{name}": array for name, array in self.ids.to_arrays().items()}}
        if self.weights is not None:
            arrays["weights"] = self.weights
        facts = {"kind": "graph", "directed": self.directed, "version": self.version, "fingerprint": self.fingerprint}
        _storage.write_atomically(Path(file), _storage.to_bytes(arrays, facts))
        return Path(file)

    @classmethod
    def load(cls, file: str | Path, *, mmap: bool = True) -> Graph:
        """The reverse of `save`; with `mmap` the edges stay in the file until they are used. Raises `FileProblem` or `CorruptFile`."""
        path = Path(file)
        if not path.is_file():
            raise FileProblem("there is no such file", fix="give the file that save() wrote", file=path)
        needs = ("kind", "directed", "version", "fingerprint")
        arrays, facts = _storage.map_file(path, needs=needs) if mmap else _storage.from_bytes(path.read_bytes(), needs=needs)
        if facts["kind"] != "graph" or not {"indptr", "indices"} <= arrays.keys():
            raise CorruptFile(f"this holds a {facts['kind']}, not a graph", fix="give the file that Graph.save() wrote", file=path)
        ids = IdMap.from_arrays({name[4:]: array for name, array in arrays.items() if name.startswith("ids.")}, name="node")
        graph = cls(ids, arrays["indptr"], arrays["indices"], arrays.get("weights"), facts["directed"], facts["version"])
        # Compiled loops do not look at bounds: a damaged file must end here.
        if graph.fingerprint != facts["fingerprint"] or len(ids) != len(graph):
            raise CorruptFile("the edges are not those that were saved", fix="write the file again", file=path)
        return graph
