"""Personalised PageRank, exactly: how often a walker is where, who starts at the seeds and starts over with probability `restart`.

    x = restart * sum over t of (1 - restart)^t (P')^t s,   P = D^-1 A,   then scaled to sum 1

A walker at a node without outgoing edges starts over; scaling to sum 1 is what that comes to. Source: Haveliwala, Topic-Sensitive
PageRank, WWW 2002.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData, UnknownId
from sartor.parts.threads import even, over_rows, threads
from sartor.retrieve.graph.csr import Graph

Seeds = Mapping[Any, float] | Sequence[Any]
"""Node ids, with weights or all alike."""


@dataclass(frozen=True, eq=False)
class SeedBatch:
    """Seeds of some queries as arrays: of query q those from indptr[q] to indptr[q + 1]; weights sum to 1 in each."""

    indptr: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    unknown: np.ndarray
    """int64 [queries]: seeds left out because the graph does not have them."""

    def __len__(self) -> int:
        return int(self.indptr.size) - 1

    def dense(self, n: int) -> np.ndarray:
        """float64 [queries, n]."""
        out = np.zeros((len(self), n))
        np.add.at(out, (np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.nodes), self.weights)
        return out


def seed_batch(graph: Graph, seeds: Sequence[Seeds]) -> SeedBatch:
    """Check and number the seeds of some queries.

    Seeds that the graph does not have are left out and counted. Raises `EmptyData` for a query without seeds, `UnknownId` where none of a
    query's seeds is in the graph, `BadValue` for a weight that is negative or not finite, or where all weights are 0.
    """
    if isinstance(seeds, str | Mapping):
        raise ConfigError("seeds are one query's", fix="give a list of queries: [seeds]")
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    unknown = []
    for row, own in enumerate(seeds):
        if isinstance(own, str):
            raise ConfigError(f"the seeds of query {row} are a text", fix="give a list of node ids: [[seed, ...], ...]")
        names = list(own)
        if not names:
            raise EmptyData("a query has no seeds", fix="give at least one node", query=row)
        weights = np.array(list(own.values()) if isinstance(own, Mapping) else [1.0] * len(names), np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
            raise BadValue("seed weights are negative, not finite, or all 0", fix="use positive numbers", query=row)
        numbers = graph.find(names)
        known = (numbers >= 0) & (weights > 0)
        if not known.any():
            raise UnknownId(f"none of the {len(names)} seeds is in the graph", id=repr(names[0]), fix="give nodes of this graph", query=row)
        parts.append((numbers[known], weights[known] / weights[known].sum()))
        unknown.append(int((numbers < 0).sum()))
    indptr = np.concatenate([[0], np.cumsum([nodes.size for nodes, _ in parts])]).astype(np.int64)
    nodes = np.concatenate([*[nodes for nodes, _ in parts], np.empty(0, np.int64)])
    weights = np.concatenate([*[weights for _, weights in parts], np.empty(0)])
    return SeedBatch(indptr, nodes, weights, np.array(unknown, np.int64))


class PowerIteration:
    """Exact personalised PageRank of one graph by adding up its series, with the reversed edges kept."""

    def __init__(self, graph: Graph, *, restart: float = 0.15) -> None:
        check_restart(restart)
        self.graph, self.restart = graph, restart
        if graph.directed:
            reverse = graph.transition().T.tocsr()
            reverse.sort_indices()
            self._indptr, self._sources = reverse.indptr.astype(np.int64), reverse.indices.astype(np.int32)
        else:
            self._indptr, self._sources = graph.indptr, graph.indices
        strength = np.asarray(graph.matrix().sum(axis=1), np.float64).ravel()
        self._inverse = np.where(strength > 0, 1.0 / np.maximum(strength, 1e-300), 0.0)
        if graph.weights is None:
            self._weights = np.empty(0, np.float32)
        else:
            self._weights = graph.weights if not graph.directed else _sorted(graph.matrix().T.tocsr())
        # More ranges than threads, of equal cost, so that a hub does not keep everybody waiting.
        self._bounds = even(np.diff(self._indptr) + 1, 1 if graph.arcs < 200_000 else 4 * threads())

    def scores(self, seeds: Sequence[Seeds] | SeedBatch, *, tolerance: float = 1e-9, iterations: int = 1000) -> np.ndarray:
        """float64 [queries, nodes], each summing to 1.

        It stops when the part of the series that is left, a bound for half the L1 error, is at most `tolerance`; or after so many
        iterations. What is left stays where it then is, so that nothing is lost.
        """
        if not tolerance >= 0 or iterations < 1:
            raise ConfigError(f"tolerance {tolerance}, iterations {iterations}", fix="use a tolerance >= 0 and at least one iteration")
        batch = seeds if isinstance(seeds, SeedBatch) else seed_batch(self.graph, seeds)
        out = np.zeros((len(batch), len(self.graph)))
        for row in range(len(batch)):
            total, left = self._rounds(batch, row, tolerance, iterations)[-1]
            np.add(total, left, out=out[row])
            out[row] /= out[row].sum()
        return out

    def after_each(self, batch: SeedBatch, row: int, *, upto: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        """Of one query: scores after each of the first iterations float64 [upto, nodes], and after the last one, as `scores` gives them."""
        rounds = self._rounds(batch, row, tolerance, 1000, keep=upto)
        first = np.stack([total + left for total, left in (rounds + [rounds[-1]] * upto)[:upto]])
        last = rounds[-1][0] + rounds[-1][1]
        return first / first.sum(axis=1, keepdims=True), last / last.sum()

    def _rounds(self, batch: SeedBatch, row: int, tolerance: float, iterations: int, keep: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """The sum of the series so far and what is left, after each of the first `keep` iterations and after the last."""
        n, span = len(self.graph), slice(batch.indptr[row], batch.indptr[row + 1])
        left: np.ndarray = np.bincount(batch.nodes[span], batch.weights[span], n)
        total = np.zeros(n)
        kept = []
        for number in range(1, iterations + 1):
            total += self.restart * left
            scaled = left * self._inverse
            left = np.empty(n)
            over_rows(_pull, self._bounds, self._indptr, self._sources, self._weights, scaled, 1 - self.restart, left)
            done = number == iterations or left.sum() <= tolerance
            if done or number <= keep:
                kept.append((total.copy() if number <= keep else total, left))
            if done:
                break
        return kept


def check_restart(restart: float) -> None:
    """Raise `ConfigError` unless 0 < restart < 1."""
    if not 0 < restart < 1:
        raise ConfigError(f"the restart probability is {restart:g}", fix="use a number between 0 and 1; 0.15 is usual")


def found_share(scores: np.ndarray, exact: np.ndarray, k: int = 100) -> np.ndarray:
    """Relative aggregated goodness RAG@k [queries]: the exact score that the best k by `scores` hold, relative to the most k nodes can hold."""
    k = min(k, exact.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    most = -np.partition(-exact, k - 1, axis=1)[:, :k]
    return np.take_along_axis(exact, best, axis=1).sum(axis=1) / most.sum(axis=1)


def _sorted(matrix: Any) -> np.ndarray:
    matrix.sort_indices()
    return np.asarray(matrix.data, np.float32)


@numba.njit(nogil=True, cache=True)
def _pull(first, last, indptr, sources, weights, scaled, keep, out):  # type: ignore[no-untyped-def]
    """One step of the walk for some nodes: the sum over who links to them, scaled already by 1 / out-strength."""
    for node in range(first, last):
        total = 0.0
        if weights.size == 0:
            for at in range(indptr[node], indptr[node + 1]):
                total += scaled[sources[at]]
        else:
            for at in range(indptr[node], indptr[node + 1]):
                total += weights[at] * scaled[sources[at]]
        out[node] = keep * total
