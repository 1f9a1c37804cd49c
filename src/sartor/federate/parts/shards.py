"""Clients' training examples, ready to be visited batch by batch by many clients at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sartor.federate.federation import Examples


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's examples of some clients."""

    rows: Tensor | None
    """int64 [k], which of the shards' clients these are; None for all of them."""
    inputs: tuple[Tensor, ...]
    """What the networks read, each [k, n, ...]."""
    y: Tensor
    """int64 [k, n]; 0 where there is no example or no label."""
    weight: Tensor
    """float32 [k, n]; 0 where there is no example or no label, else 1."""


class Shards:
    """The labelled training examples of some clients.

    Parameters
    ----------
    parts: one per client. Graphs are padded to the largest and visited whole.
    numbers: of these clients in their federation; they give each client an order of examples of its own, whoever else is there.
    unlabelled: count and visit examples without a label, too; their class reads 0.
    """

    def __init__(self, parts: Sequence[Examples], numbers: Sequence[int] | np.ndarray | None = None, *, unlabelled: bool = False) -> None:
        self.numbers = np.arange(len(parts)) if numbers is None else np.asarray(numbers, np.int64)
        self.counts = np.array([len(part) if unlabelled else part.labelled for part in parts], np.int64)
        self.graphs = bool(parts) and parts[0].edges is not None
        self._inputs: tuple[Tensor, ...]
        if self.graphs:
            self._inputs, self._y = graphs(parts)
            return
        kept = [part if unlabelled or part.labelled == len(part) else part.take(part.y >= 0) for part in parts]
        self._inputs = (torch.from_numpy(np.concatenate([part.x for part in kept])),)
        self._y = torch.from_numpy(np.concatenate([part.y for part in kept])).clamp(min=0)
        self._starts = np.cumsum([0, *self.counts])[:-1]

    def __len__(self) -> int:
        return int(self.numbers.size)

    def take(self, rows: np.ndarray) -> Shards:
        """Some of the clients."""
        out = object.__new__(Shards)
        out.numbers, out.counts, out.graphs = self.numbers[rows], self.counts[rows], self.graphs
        if self.graphs:
            out._inputs, out._y = tuple(one[rows] for one in self._inputs), self._y[rows]
        else:
            # The examples stay where they are.
            out._inputs, out._y, out._starts = self._inputs, self._y, self._starts[rows]
        return out

    def beside(self, table: Tensor) -> Shards:
        """The same clients with one more input: rows of a table [k, n, ...], for each client's examples in their order."""
        out = self.take(np.arange(len(self)))
        more = torch.zeros(len(self._y), *table.shape[2:])
        for row, (start, count) in enumerate(zip(self._starts, self.counts, strict=True)):
            more[start : start + count] = table[row, :count]
        out._inputs = (*self._inputs, more)
        return out

    def whole(self) -> Batch:
        """All examples of every client in their order, padded to the most: [k, n, ...]."""
        place = np.arange(int(self.counts.max(initial=0)))
        known = place < self.counts[:, None]
        at = torch.from_numpy(np.where(known, self._starts[:, None] + place, 0))
        return Batch(None, tuple(one[at] for one in self._inputs), self._y[at], torch.from_numpy(known.astype(np.float32)))

    def batches(self, size: int, *key: int) -> Iterator[Batch]:
        """One epoch: every client's examples in an order of its own, by `key` and its number. A client that has seen all takes no further step.

        size: examples a step; 0 for all at once, as graphs always are.
        """
        if self.graphs:
            yield Batch(None, self._inputs, self._y.clamp(min=0), (self._y >= 0).float())
            return
        size = size or int(self.counts.max())
        steps = -(-self.counts // size)
        orders = [
            start + np.random.default_rng([*key, int(number)]).permutation(count)
            for number, count, start in zip(self.numbers, self.counts, self._starts, strict=True)
        ]
        for step in range(int(steps.max())):
            active = np.flatnonzero(steps > step)
            chosen = [orders[row][step * size : (step + 1) * size] for row in active]
            longest = max(map(len, chosen))
            rows, weight = np.zeros((len(chosen), longest), np.int64), np.zeros((len(chosen), longest), np.float32)
            for row, one in enumerate(chosen):
                rows[row, : len(one)], rows[row, len(one) :], weight[row, : len(one)] = one, one[0], 1
            at = torch.from_numpy(rows)
            every = None if active.size == len(self) else torch.from_numpy(active)
            yield Batch(every, tuple(one[at] for one in self._inputs), self._y[at], torch.from_numpy(weight))


def graphs(parts: Sequence[Examples]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Padded node features [k, n, d], normalised adjacency [k, n, n], and labels [k, n] with -1 where there is none."""
    most = max(len(part) for part in parts)
    x = torch.zeros(len(parts), most, *parts[0].x.shape[1:])
    adjacency, y = torch.zeros(len(parts), most, most), torch.full((len(parts), most), -1, dtype=torch.int64)
    for row, part in enumerate(parts):
        x[row, : len(part)], y[row, : len(part)] = torch.from_numpy(part.x), torch.from_numpy(part.y)
        assert part.edges is not None
        adjacency[row, : len(part), : len(part)] = normalised(part.edges, len(part))
    return (x, adjacency), y


def normalised(edges: np.ndarray, nodes: int) -> Tensor:
    """D^-1/2 (A + I) D^-1/2, float32 [nodes, nodes], symmetric; every edge counts once, and a node without edges keeps itself."""
    table = torch.zeros(nodes, nodes)
    first, second = torch.from_numpy(edges[0]), torch.from_numpy(edges[1])
    table[first, second] = 1.0
    table[second, first] = 1.0
    table.fill_diagonal_(1.0)
    scale = table.sum(1).rsqrt()
    return scale[:, None] * table * scale


def inputs_of(part: Examples) -> tuple[Tensor, ...]:
    """What one client's network reads."""
    x = torch.from_numpy(np.ascontiguousarray(part.x))
    return (x,) if part.edges is None else (x, normalised(part.edges, len(part)))
