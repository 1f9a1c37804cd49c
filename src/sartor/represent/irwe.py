"""Two vectors for every node from edges alone: what role it plays, and where it is; also for nodes and graphs never seen in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted, TooLarge
from sartor.parts.random_walks import random_walks
from sartor.parts.unit import unit
from sartor.represent.fastrp import very_sparse_projection
from sartor.represent.walk_statistics import BUCKETS, patterns, walk_statistics

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.represent.irwe_network import Network


@dataclass(frozen=True, eq=False)
class NodeVectors:
    """What `IRWE.embed` gives."""

    identity: np.ndarray
    """float32 [nodes, dim]: the role."""
    position: np.ndarray
    """float32 [nodes, dim], of length 1: nodes near each other are alike; zeros without walks."""
    walked: np.ndarray
    """bool [nodes]: False for a node without edges, of which walks say nothing."""


@dataclass(kw_only=True, eq=False)
class IRWE:
    """Inductive random walk embedding, for identity (hub, bridge, leaf) and position (community) jointly.

    From every node walks are drawn. Which nodes they meet again (anonymous walks) and which degrees they meet make the identity, by
    attention over learned pattern vectors; it must be enough to tell these statistics again. A few walks, each node of them given by a
    random projection of its neighbours and by its identity, go through a transformer; attention over the walks makes the position, which must
    tell who is met on walks from who is not. Neither uses a node's id, so new nodes and new graphs need no training.

    Position vectors of different graphs cannot be compared with each other; identity vectors can.

    Source: Qin and Yeung, IRWE: Inductive random walk for joint inference of identity and position network embedding, 2024. Its code was not
    to be had; our reading in: the sizes, the decoder (which tells anonymous walks as well as degrees), rows of the transition matrix in place
    of the adjacency's, whose projections are drawn anew every epoch so that the network does not learn one of them by heart.

    A node's state: both vectors, 2 x dim x float16.
    """

    dim: int = 64
    length: int = 5
    """Nodes of a walk whose pattern is counted."""
    walks: int = 300
    """Per node, for its statistics."""
    reach: int = 8
    """Nodes of a walk that the position unit reads."""
    paths: int = 16
    """Such walks per node."""
    projection_dim: int = 128
    steps: int = 150
    """Of training; identity and position in turn."""
    window: int = 3
    """Steps within which two nodes of a walk count as met."""
    batch: int = 64
    """Pairs of nodes that were met on one walk."""
    negatives: float = 1.0
    """Weight of the pairs that are pushed apart, relative to those that are pulled together."""
    temperature: float = 0.3
    learning_rate: float = 1e-3
    symmetrise: bool = False
    """Take directed edges for undirected ones, instead of refusing them."""
    memory: float = 2e9
    """Bytes that walks and statistics of one graph may take."""
    seed: int = 0

    network_: Network = field(init=False, repr=False)
    losses_: list[float] = field(init=False, repr=False)
    """Of every epoch."""

    def __post_init__(self) -> None:
        if min(self.dim, self.walks, self.paths, self.projection_dim, self.batch) < 1 or self.steps < 2 or not 2 <= self.length <= 7:
            raise ConfigError("a size is out of range", fix="use at least 1 of everything, 2 steps, and 2 to 7 nodes per pattern")
        if self.reach < 2 or self.window < 1 or self.temperature <= 0 or self.learning_rate <= 0:
            raise ConfigError(f"reach {self.reach}, temperature {self.temperature}", fix="use a reach of at least 2, and positive numbers")

    def fit(self, graphs: Any, *, progress: bool = True) -> IRWE:
        """Train on one or several square scipy matrices.

        Raises `ConfigError` for a directed graph unless `symmetrise`, `TooLarge` above `memory`, `BadValue` for weights that are not finite,
        `EmptyData` without edges.
        """
        from sartor.parts.trainer import Trainer, seeded
        from sartor.represent.irwe_network import Network

        drawn = [_Drawn(self, one) for one in (graphs if isinstance(graphs, Sequence) else [graphs])]
        if not drawn:
            raise EmptyData("there is no graph", fix="give at least one")
        every = [np.flatnonzero(one.degrees > 0) for one in drawn]
        told = [one.statistics(nodes) for one, nodes in zip(drawn, every, strict=True)]
        with seeded(self.seed):
            self.network_ = Network(self.dim, len(patterns(self.length)), self.length * BUCKETS, self.projection_dim, self.reach)

        def batches(rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
            codes = [one.projection(int(rng.integers(2**31)), self.projection_dim) for one in drawn]
            for step in range(_PER_EPOCH):
                at = int(rng.integers(len(drawn)))
                if step % 2 == 0:
                    rows = rng.choice(every[at].size, min(4 * self.batch, every[at].size), replace=False)
                    yield ("identity", *(one[rows] for one in told[at]))
                else:
                    yield ("position", *self._pairs(drawn[at], every[at], told[at], codes[at], rng))

        def loss(batch: tuple[Any, ...]) -> Any:
            kind, *rest = batch
            if kind == "identity":
                return self.network_.identity_loss(*rest)
            return self.network_.position_loss(*rest, negatives=self.negatives, temperature=self.temperature)

        trainer = Trainer(epochs=max(1, self.steps // _PER_EPOCH), learning_rate=self.learning_rate, clip_norm=1.0, seed=self.seed)
        self.losses_ = trainer.fit(self.network_, batches, loss, progress=progress, description="irwe").losses
        return self

    def embed(self, graph: Any, nodes: np.ndarray | None = None) -> NodeVectors:
        """Both vectors of a graph's nodes, of all or of some, by a forward pass. Raises as `fit`, and `NotFitted` before it."""
        import torch

        if not hasattr(self, "network_"):
            raise NotFitted("IRWE has seen no graph", fix="call fit(graphs)")
        drawn = _Drawn(self, graph)
        nodes = np.arange(drawn.degrees.size) if nodes is None else np.asarray(nodes, np.int64)
        codes = drawn.projection(self.seed, self.projection_dim)
        identity, position = np.empty((nodes.size, self.dim), np.float32), np.zeros((nodes.size, self.dim), np.float32)
        walked = drawn.degrees[nodes] > 0
        network = self.network_.eval()
        with torch.no_grad():
            for start in range(0, nodes.size, _PART):
                own, there = nodes[start : start + _PART], walked[start : start + _PART]
                identity[start : start + _PART] = network.identity(*_tensors(*drawn.statistics(own))).numpy()
                if there.any():
                    found = network.position(*_tensors(*self._tokens(drawn, own[there], codes))).numpy()
                    position[start : start + _PART][there] = found
        return NodeVectors(identity, position, walked)

    def _tokens(self, drawn: _Drawn, nodes: np.ndarray, codes: np.ndarray, seed: int = 1) -> tuple[np.ndarray, ...]:
        """What the position unit reads: statistics of all nodes on the walks, their codes, and which of these every walk visits."""
        paths = drawn.paths(nodes, self.paths, self.reach - 1, seed)
        visited, at = np.unique(paths, return_inverse=True)
        return (*drawn.statistics(visited), codes[visited], at.reshape(nodes.size, self.paths, self.reach))

    def _pairs(self, drawn: _Drawn, every: np.ndarray, told: tuple[np.ndarray, np.ndarray], codes: np.ndarray, rng: np.random.Generator) -> Any:
        """Nodes that were met on one walk, as many that were not, and the walks of all of them."""
        starts = rng.choice(every, self.batch)
        met = drawn.paths(starts, 1, self.window, int(rng.integers(2**31)))[:, 0]
        others = met[np.arange(self.batch), rng.integers(1, self.window + 1, self.batch)]
        # Drawn as often as walks are there, less the great ones' lead: in proportion to the degree to the power of 3/4.
        noise = rng.choice(every, self.batch, p=drawn.degrees[every] ** 0.75 / (drawn.degrees[every] ** 0.75).sum())
        asked, place = np.unique(np.concatenate([starts, others, noise]), return_inverse=True)
        return _tensors(*self._tokens(drawn, asked, codes, int(rng.integers(2**31))), place.reshape(3, self.batch))


_PER_EPOCH, _PART = 50, 512
"""Steps between new projections; nodes embedded at once."""


class _Drawn:
    """A graph, and what walks on it have shown."""

    def __init__(self, settings: IRWE, graph: Any) -> None:
        matrix = graph.tocsr()
        n = matrix.shape[0]
        if matrix.shape != (n, n):
            raise ConfigError(f"the matrix is {matrix.shape[0]} x {matrix.shape[1]}", fix="an adjacency matrix is square")
        if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
            raise BadValue("a weight is negative or not finite", fix="weights are strengths: positive numbers")
        needed = float(n) * (len(patterns(settings.length)) + settings.length * BUCKETS + settings.projection_dim) * 4
        needed += float(n) * settings.paths * settings.reach * 4
        if needed > settings.memory:
            raise TooLarge(
                f"walks and statistics of {n:,} nodes take {needed:,.0f} bytes, and {settings.memory:,.0f} are allowed",
                fix="raise memory, or take fewer walks, or embed some nodes of a part of the graph",
            )
        edges = (matrix != 0).astype(np.float32)
        if (edges != edges.T).nnz:
            if not settings.symmetrise:
                raise ConfigError("the graph is directed", fix="use symmetrise=True where directions do not matter")
            edges = ((edges + edges.T) > 0).astype(np.float32)
        edges.setdiag(0)
        edges.eliminate_zeros()
        edges.sort_indices()
        if not edges.nnz:
            raise EmptyData("the graph has no edge", fix="give edges")
        self.edges: csr_matrix = edges
        self.indptr, self.indices = edges.indptr.astype(np.int64), edges.indices.astype(np.int32)
        self.degrees = np.diff(self.indptr)
        self._settings = settings
        self._known = np.full(n, -1, np.int64)
        self._told: tuple[np.ndarray, np.ndarray] | None = None

    def statistics(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `walk_statistics`, each node's once."""
        new = np.unique(nodes[self._known[nodes] < 0])
        if new.size:
            made = walk_statistics(self.indptr, self.indices, new, length=self._settings.length, walks=self._settings.walks, seed=self._settings.seed)
            count = 0 if self._told is None else len(self._told[0])
            self._known[new] = count + np.arange(new.size)
            self._told = made if self._told is None else (np.concatenate([self._told[0], made[0]]), np.concatenate([self._told[1], made[1]]))
        assert self._told is not None
        return self._told[0][self._known[nodes]], self._told[1][self._known[nodes]]

    def projection(self, seed: int, dim: int) -> np.ndarray:
        """float32 [n, dim]: random codes of the nodes' neighbourhoods, each number about 1 in size."""
        shares = self.edges.multiply(1 / np.maximum(self.degrees, 1)[:, None]).tocsr()
        return (unit((shares @ very_sparse_projection(self.degrees.size, dim, seed)).toarray()) * dim**0.5).astype(np.float32)

    def paths(self, nodes: np.ndarray, walks: int, length: int, seed: int) -> np.ndarray:
        """int32 [nodes, walks, length + 1]. In an undirected graph no walk from a node with edges ends."""
        numbers = (nodes[:, None] * walks + np.arange(walks)).ravel()
        starts = np.repeat(nodes, walks)
        none = np.empty(0, np.float32)
        return random_walks(self.indptr, self.indices, none, starts, length, seed=seed, numbers=numbers).reshape(nodes.size, walks, length + 1)


def _tensors(*arrays: np.ndarray) -> tuple[Any, ...]:
    import torch

    return tuple(torch.as_tensor(one) for one in arrays)
