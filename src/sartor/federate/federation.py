"""A federation: clients, each with examples that stay with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData, UnknownId, WrongType


@dataclass(frozen=True, eq=False)
class Examples:
    """What one client has: inputs with a class each, or the nodes of a graph of its own."""

    x: np.ndarray
    """float32 [n, ...]."""
    y: np.ndarray
    """int64 [n], a class from 0; -1 where there is no label."""
    edges: np.ndarray | None = None
    """int64 [2, m] for a graph: node numbers of each edge, either way round; None for examples that stand alone."""

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x), np.asarray(self.y)
        if x.dtype.kind not in "fiub" or y.dtype.kind not in "iu":
            raise WrongType(f"inputs are {x.dtype} and labels {y.dtype}", fix="give numbers, and whole numbers as labels")
        if x.ndim < 2 or y.shape != x.shape[:1]:
            raise BadValue(f"inputs of shape {x.shape} and labels of shape {y.shape}", fix="give inputs [n, ...] and one label for each")
        x = x.astype(np.float32, copy=False)
        bad = np.flatnonzero(~np.isfinite(x).all(axis=tuple(range(1, x.ndim))))
        if bad.size:
            raise BadValue("an input is not a finite number", fix="leave it out or fill it in", row=int(bad[0]))
        if y.size and y.min() < -1:
            raise BadValue(f"a label is {y.min()}", fix="count classes from 0; -1 is no label", row=int(y.argmin()))
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y.astype(np.int64, copy=False))
        if self.edges is not None:
            edges = np.asarray(self.edges, np.int64).reshape(2, -1)
            if edges.size and (edges.min() < 0 or edges.max() >= len(x)):
                raise BadValue(f"an edge names node {edges.max() if edges.min() >= 0 else edges.min()} of {len(x)}", fix="count nodes from 0")
            object.__setattr__(self, "edges", edges)

    def __len__(self) -> int:
        return int(self.y.size)

    @property
    def labelled(self) -> int:
        """How many have a label."""
        return int((self.y >= 0).sum())

    def take(self, rows: np.ndarray) -> Examples:
        """Some of them, by row number or mask; of a graph's nodes only the labels are left out, since their neighbours need them."""
        if self.edges is None:
            return Examples(self.x[rows], self.y[rows])
        kept = np.full_like(self.y, -1)
        kept[rows] = self.y[rows]
        return Examples(self.x, kept, self.edges)


@dataclass(frozen=True, eq=False)
class Client:
    """One device, wearer, writer, owner of a subgraph: what it learns from, and what it is judged by."""

    id: Any
    train: Examples
    test: Examples


@dataclass(frozen=True, eq=False)
class Federation:
    """Clients that learn together. A client without labels takes part in nothing and is served the population's answer.

    Parameters
    ----------
    clients: at least one; ids differ, inputs have one shape.
    classes: how many there are over all clients; by default one more than the largest label.
    name: for reports.
    """

    clients: Sequence[Client]
    classes: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        if not self.clients:
            raise EmptyData("a federation without clients", fix="give at least one")
        ids = [client.id for client in self.clients]
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise BadValue("two clients have the same id", fix="give each its own", id=twice)
        first = self.clients[0].train
        for client in self.clients:
            for part in (client.train, client.test):
                if part.x.shape[1:] != first.x.shape[1:]:
                    raise BadValue(f"inputs are {part.x.shape[1:]}, those of '{ids[0]}' are {first.x.shape[1:]}", client=client.id)
                if (part.edges is None) != (first.edges is None):
                    raise BadValue("some clients have graphs and some have none", fix="give all of them edges, or none", client=client.id)
        top = max((int(part.y.max()) for client in self.clients for part in (client.train, client.test) if len(part)), default=-1) + 1
        if self.classes and top > self.classes:
            raise BadValue(f"there is a label {top - 1} with {self.classes} classes", fix=f"use labels 0 to {self.classes - 1}")
        object.__setattr__(self, "classes", self.classes or top)

    def __len__(self) -> int:
        return len(self.clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(self.clients)

    def __getitem__(self, id: Any) -> Client:
        return self.clients[self.number(id)]

    def number(self, id: Any) -> int:
        """The place of a client; raises `UnknownId`."""
        for number, client in enumerate(self.clients):
            if client.id == id:
                return number
        raise UnknownId("there is no such client", id=id, fix="use an id of this federation")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.clients[0].train.x.shape[1:])

    @property
    def graphs(self) -> bool:
        """Whether clients have graphs."""
        return self.clients[0].train.edges is not None

    def hold_out(self, share: float = 0.2, *, seed: int = 0) -> tuple[Federation, Federation]:
        """Clients that learn together, and clients that join later: the second take no part in any round. At least one on each side."""
        if not 0 < share < 1 or len(self) < 2:
            raise ConfigError(f"hold out {share} of {len(self)} clients", fix="use a share between 0 and 1, and at least two clients")
        count = min(len(self) - 1, max(1, round(share * len(self))))
        late = set(np.random.default_rng([seed, 17]).permutation(len(self))[:count].tolist())
        sides = [[one for number, one in enumerate(self.clients) if (number in late) == held] for held in (False, True)]
        return Federation(sides[0], self.classes, self.name), Federation(sides[1], self.classes, f"{self.name} held out")

    def pooled(self) -> Federation:
        """The same examples with one client that has them all: what could be learned if data could be brought together."""
        return Federation([Client("all", *(_together([getattr(one, part) for one in self.clients]) for part in ("train", "test")))], self.classes)

    def digest(self) -> str:
        """32 hex digits that tell one federation from another."""
        out = hashlib.blake2b(str(self.classes).encode(), digest_size=16)
        for client in self.clients:
            out.update(repr(client.id).encode())
            for part in (client.train, client.test):
                for array in (part.x, part.y, *(() if part.edges is None else (part.edges,))):
                    out.update(f"{array.dtype}{array.shape}".encode())
                    out.update(np.ascontiguousarray(array).data)
        return out.hexdigest()


def _together(parts: Sequence[Examples]) -> Examples:
    starts = np.cumsum([0, *(len(part) for part in parts)])
    edges = [part.edges + start for part, start in zip(parts, starts, strict=False) if part.edges is not None]
    x, y = np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])
    return Examples(x, y, np.concatenate(edges, axis=1) if edges else None)
