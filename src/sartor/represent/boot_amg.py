"""Groups of a graph's nodes that follow its edges and what the nodes are, from the smooth vectors of a bootstrapped multigrid solver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numba
import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData, NotFitted
from sartor.represent.clustering import attribute_entropy, modularity
from sartor.represent.multigrid import Hierarchy, hierarchy, smooth_vector

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Distance = Literal["concatenated", "blocks"]


@dataclass(kw_only=True, eq=False)
class BootAMG:
    """Communities of an attributed graph in near-linear time, without eigenvectors.

    Every value of every attribute becomes a node, with an edge to whoever has it. A multigrid solver of that graph's Laplacian is built
    from one hierarchy, then improved by one more as long as it is slow; what it is slow on, an algebraically smooth vector, varies little
    along edges, and drives the next hierarchy. Of all smooth vectors, made orthogonal, a node keeps its own row and the rows of its
    attribute values; k-means of these, started at random many times, is judged by the modularity of the groups on the graph itself.

    For graphs whose edges alone do not tell the groups. An attribute of about as many values as there are groups is followed nearly alone:
    where edges do tell the groups and it is often wrong, fitting without attributes is better (claims/represent/boot_amg.py).

    Source: D'Ambra, De Santis, Vassilevski and Cutillo, Network clustering by embedding of attribute-augmented graphs, 2021, and
    Extending bootstrap AMG for clustering of attributed graphs, 2023. Differs from their program in: the matching is Suitor's, which it
    offers as an option; the coarsest level is solved exactly; a centre that loses all its members stays where it is; smooth vectors that
    add no direction are left out.
    """

    clusters: int
    """How many groups."""
    ratio: float = 1e-6
    """Convergence of the composite solver, per iteration, at which no further hierarchy is built."""
    hierarchies: int = 40
    """At most."""
    iterations: int = 15
    """Of the composite solver, to find a smooth vector."""
    sweeps: int = 2
    """Pairwise matchings per level."""
    restarts: int = 100
    """Of k-means."""
    rounds: int = 10
    """Of each k-means."""
    distance: Distance = "concatenated"
    """Euclidean over all of a node's coordinates, as their program has it; or, as the paper says, the sum over dimensions of the norm there."""
    seed: int = 0

    labels_: np.ndarray = field(init=False, repr=False)
    """int64 [n]."""
    centres_: np.ndarray = field(init=False, repr=False)
    """float64 [clusters, (attributes + 1) * dim]."""
    embedding_: np.ndarray = field(init=False, repr=False)
    """float64 [n + values, dim]: of the nodes, then of every attribute's values."""
    values_: list[np.ndarray] = field(init=False, repr=False)
    """What each attribute's values are."""
    modularity_: float = field(init=False)
    entropy_: float = field(init=False)
    """Bits, summed over attributes; 0 without any."""
    ratios_: list[float] = field(init=False, repr=False)
    """Convergence with 1, 2, ... hierarchies."""

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.hierarchies < 1 or self.iterations < 1 or self.sweeps < 1 or self.restarts < 1 or self.rounds < 1:
            raise ConfigError("a count is too small", fix="use at least 2 clusters, and at least 1 of everything else")
        if self.distance not in ("concatenated", "blocks"):
            raise ConfigError(f"there is no distance {self.distance!r}", fix="use 'concatenated' or 'blocks'")

    def fit(self, adjacency: Any, attributes: Any = None) -> BootAMG:
        """Learn groups.

        Parameters
        ----------
        adjacency: square scipy matrix, symmetric, not negative [n, n]; loops are left out.
        attributes: whole numbers or texts [n, attributes], one value each; None: the edges alone.

        Raises `ConfigError` for rows that do not match the nodes and for a directed graph, `BadValue` for negative weights, continuous
        attributes, and a graph that falls into parts (attributes join them where they are shared), `EmptyData` without edges.
        """
        graph = _undirected(adjacency)
        n = graph.shape[0]
        if self.clusters > n:
            raise ConfigError(f"{self.clusters} clusters of {n} nodes", fix="use fewer clusters than nodes")
        self.values_, codes = _categories(attributes, n)
        augmented, first = _augmented(graph, self.values_, codes)
        _connected(augmented, n)
        vectors = self._smooth_vectors(augmented)
        left, singular, _ = np.linalg.svd(vectors, full_matrices=False)
        self.embedding_ = left[:, singular > 1e-10 * singular[0]]
        self._first = first
        blocks = self._blocks(self.embedding_[:n], codes)
        self.labels_, self.centres_, self.modularity_ = self._best(graph, blocks)
        self.entropy_ = attribute_entropy(codes, self.labels_) if codes.shape[1] else 0.0
        return self

    def assign(self, neighbours: Any, attributes: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Groups int64 [new] of nodes that were not there, and their own vectors float16 [new, (attributes + 1) * dim].

        neighbours: scipy matrix [new, n], rows are new nodes' edges. attributes: as in `fit`. A new node is at the mean of its neighbours; one
        without any is at the mean of its attribute values. Raises `BadValue` for a value nobody had.
        """
        if not hasattr(self, "embedding_"):
            raise NotFitted("there are no groups yet", fix="call fit(adjacency, attributes)")
        shares = neighbours.tocsr().astype(np.float64)
        n = int(self._first[0])
        if shares.shape[1] != n:
            raise ConfigError(f"{shares.shape[1]} columns for {n} nodes", fix="give one column per node of the graph")
        _, codes = _categories(attributes, shares.shape[0], self.values_)
        strength = np.asarray(shares.sum(axis=1)).ravel()
        own = np.asarray(shares @ self.embedding_[:n]) / np.where(strength > 0, strength, 1)[:, None]
        alone = strength == 0
        if alone.any():
            if not codes.shape[1]:
                raise BadValue("a new node has neither neighbours nor attributes", fix="give it an edge", row=int(np.flatnonzero(alone)[0]))
            own[alone] = self.embedding_[codes[alone] + self._first[:-1]].mean(axis=1)
        vectors = self._blocks(own, codes)
        return _nearest(vectors, self.centres_, self._parts), vectors.astype(np.float16)

    @property
    def _parts(self) -> int:
        """Of how many coordinates a distance takes the root, before roots are summed; 0: of all."""
        return self._first.size if self.distance == "blocks" else 0

    def _smooth_vectors(self, augmented: csr_matrix) -> np.ndarray:
        matrix = _definite(augmented)
        rng = np.random.default_rng(self.seed)
        vectors = [np.ones(matrix.shape[0])]
        built: list[Hierarchy] = []
        self.ratios_ = []
        while len(built) < self.hierarchies and (not built or self.ratios_[-1] > self.ratio):
            built.append(hierarchy(matrix, vectors[-1], sweeps=self.sweeps))
            vector, ratio = smooth_vector(matrix, built, rng.standard_normal(matrix.shape[0]), iterations=self.iterations)
            vectors.append(vector)
            self.ratios_.append(ratio)
        return np.stack(vectors, axis=1)

    def _blocks(self, own: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """float64 [nodes, dim * (attributes + 1)], dimension by dimension: a node's own row and those of its attribute values."""
        rows = [own, *[self.embedding_[first + column] for first, column in zip(self._first[:-1], codes.T, strict=True)]]
        return np.stack(rows, axis=2).reshape(len(own), -1)

    def _best(self, graph: csr_matrix, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        from scipy.sparse import csr_matrix

        rng = np.random.default_rng([self.seed, 1])
        best: tuple[np.ndarray, np.ndarray, float] | None = None
        for _ in range(self.restarts):
            centres = blocks[rng.choice(len(blocks), self.clusters, replace=False)]
            labels = np.full(len(blocks), -1)
            for _ in range(self.rounds):
                before, labels = labels, _nearest(blocks, centres, self._parts)
                if (labels == before).all():
                    break
                members = np.bincount(labels, minlength=self.clusters)[:, None]
                belongs = csr_matrix((np.ones(labels.size), labels, np.arange(labels.size + 1)), shape=(labels.size, self.clusters))
                centres = np.where(members > 0, belongs.T @ blocks / np.maximum(members, 1), centres)
            found = modularity(graph, labels)
            if best is None or found > best[2]:
                best = labels, centres, found
        assert best is not None
        return best


def _nearest(vectors: np.ndarray, centres: np.ndarray, parts: int) -> np.ndarray:
    """The nearest centre of each vector."""
    if parts:
        return _block_distances(np.ascontiguousarray(vectors), np.ascontiguousarray(centres), parts).argmin(axis=1)
    return ((centres**2).sum(axis=1) - 2 * vectors @ centres.T).argmin(axis=1)


@numba.njit(nogil=True, cache=True)
def _block_distances(vectors, centres, parts):  # type: ignore[no-untyped-def]
    out = np.zeros((vectors.shape[0], centres.shape[0]))
    for row in range(vectors.shape[0]):
        for centre in range(centres.shape[0]):
            for start in range(0, vectors.shape[1], parts):
                square = 0.0
                for at in range(start, start + parts):
                    square += (vectors[row, at] - centres[centre, at]) ** 2
                out[row, centre] += np.sqrt(square)
    return out


def _undirected(adjacency: Any) -> csr_matrix:
    graph = adjacency.tocsr().astype(np.float64)
    if graph.shape[0] != graph.shape[1]:
        raise ConfigError(f"the matrix is {graph.shape[0]} x {graph.shape[1]}", fix="an adjacency matrix is square")
    bad = ~(np.isfinite(graph.data) & (graph.data >= 0))
    if bad.any():
        raise BadValue(f"the weight {graph.data[bad][0]:g} is negative or not finite", fix="weights are strengths: positive numbers")
    if abs(graph - graph.T).max() > 1e-9 * max(1.0, graph.data.max(initial=0)):
        raise ConfigError("the matrix is not symmetric", fix="give matrix + matrix.T, where directions do not matter")
    graph.setdiag(0)
    graph.eliminate_zeros()
    graph.sort_indices()
    if not graph.nnz:
        raise EmptyData("the graph has no edge", fix="give edges")
    return graph


def _categories(attributes: Any, n: int, known: list[np.ndarray] | None = None) -> tuple[list[np.ndarray], np.ndarray]:
    """Values of each attribute, sorted, and codes int64 [n, attributes]."""
    table = np.empty((n, 0), np.int64) if attributes is None else np.asarray(attributes)
    table = table[:, None] if table.ndim == 1 else table
    if table.shape[0] != n:
        raise ConfigError(f"{table.shape[0]} rows of attributes for {n} nodes", fix="give one row per node")
    if table.dtype.kind == "f":
        raise BadValue("attributes are continuous", fix="cut them into bins, such as np.digitize gives")
    if known is None:
        found = [np.unique(column, return_inverse=True) for column in table.T]
        codes = [code for _, code in found]
        return [values for values, _ in found], np.stack(codes, axis=1) if codes else np.empty((n, 0), np.int64)
    if table.shape[1] != len(known):
        raise ConfigError(f"{table.shape[1]} attributes instead of {len(known)}", fix="give those of fit")
    out = np.empty(table.shape, np.int64)
    for at, values in enumerate(known):
        place = np.minimum(np.searchsorted(values, table[:, at]), values.size - 1)
        unknown = np.flatnonzero(values[place] != table[:, at])
        if unknown.size:
            raise BadValue(f"nobody had the value {table[unknown[0], at]}", fix="fit with it", row=int(unknown[0]), column=at)
        out[:, at] = place
    return known, out


def _augmented(graph: csr_matrix, values: list[np.ndarray], codes: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
    """The graph with a node for every value of every attribute, and the number of each attribute's first one [attributes + 1]."""
    from scipy.sparse import block_array, csr_matrix

    n = graph.shape[0]
    first = np.concatenate([[n], n + np.cumsum([one.size for one in values])]).astype(np.int64)
    if not values:
        return graph, first
    columns = (codes + first[:-1] - n).ravel()
    has = csr_matrix((np.ones(columns.size), columns, np.arange(n + 1) * codes.shape[1]), shape=(n, int(first[-1]) - n))
    return block_array([[graph, has], [has.T, None]]).tocsr(), first


def _connected(augmented: csr_matrix, n: int) -> None:
    from scipy.sparse.csgraph import connected_components

    count, part = connected_components(augmented, directed=False)
    if count > 1:
        sizes = np.sort(np.bincount(part[:n]))[::-1]
        shown = ", ".join(f"{size:,}" for size in sizes[:8]) + (", ..." if count > 8 else "")
        raise BadValue(f"the graph falls into {count:,} parts, of {shown} nodes", fix="cluster the largest, or give attributes that join them")


def _definite(augmented: csr_matrix) -> csr_matrix:
    """The Laplacian, made positive definite on the first node and its first neighbour: plus (e_0 + e_j)(e_0 + e_j)'."""
    from scipy.sparse import csr_matrix, diags

    n, other = augmented.shape[0], int(augmented.indices[0])
    update = csr_matrix((np.ones(4), ([0, 0, other, other], [0, other, 0, other])), shape=(n, n))
    matrix = (diags(np.asarray(augmented.sum(axis=1)).ravel()) - augmented + update).tocsr()
    matrix.sort_indices()
    return matrix
