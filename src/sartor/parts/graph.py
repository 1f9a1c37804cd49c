"""LightGCN propagation over a bipartite graph: vectors averaged along edges, layer by layer, with nothing to learn in it.

With R the people x items matrix of ones, and every entry divided by sqrt(degree of person x degree of item), a layer is

    people_{k+1} = R items_k,   items_{k+1} = R' people_k

and the result is the mean over layers 0..K. It is linear, so it works on any layer-0 vectors: an id table, projected texts, shared rows.
Source: He et al., LightGCN, SIGIR 2020.

Somebody who is not in the graph needs no second propagation: with the item layers frozen, layer k of a person with history H is
`sum over i in H of items_{k-1}[i] / sqrt(|H| degree_i)`. `neighbour_vectors` adds these up over layers once, for every item.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sartor.errors import ConfigError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class BipartiteGraph:
    """Edges between people and items, normalised symmetrically; kept in both directions, since backward passes need the transpose."""

    indptr: np.ndarray
    """int64 [people + 1]."""
    indices: np.ndarray
    """int32 [edges], item numbers; sorted and distinct inside each person."""
    items: int

    @classmethod
    def of(cls, matrix: csr_matrix) -> BipartiteGraph:
        """From a people x items matrix with sorted and distinct columns; its values are ignored, every edge counts once."""
        return cls(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.shape[1])

    @property
    def people(self) -> int:
        return int(self.indptr.size) - 1

    @cached_property
    def edges(self) -> csr_matrix:
        """bool CSR [people, items]: who has what."""
        from scipy.sparse import csr_matrix

        return csr_matrix((np.ones(self.indices.size, bool), self.indices, self.indptr), shape=(self.people, self.items))

    @cached_property
    def item_degrees(self) -> np.ndarray:
        """int64 [items]."""
        return np.bincount(self.indices, minlength=self.items)

    @cached_property
    def weights(self) -> np.ndarray:
        """float32 [edges]: 1 / sqrt(degree of the person x degree of the item)."""
        lengths = np.diff(self.indptr)
        own = np.repeat(lengths, lengths) * self.item_degrees[self.indices]
        return (1 / np.sqrt(own)).astype(np.float32)

    @cached_property
    def _to_people(self) -> csr_matrix:
        from scipy.sparse import csr_matrix

        return csr_matrix((self.weights, self.indices, self.indptr), shape=(self.people, self.items))

    @cached_property
    def _to_items(self) -> csr_matrix:
        return self._to_people.T.tocsr()

    def dropped(self, rng: np.random.Generator, rate: float) -> BipartiteGraph:
        """The graph with a share of its edges left out at random; what is left keeps its weights, scaled by 1 / (1 - rate)."""
        if not 0 <= rate < 1:
            raise ConfigError(f"the edge dropout is {rate}", fix="use 0 <= rate < 1")
        keep = rng.random(self.indices.size) >= rate
        indptr = np.concatenate([[0], np.cumsum(keep)])[self.indptr]
        thin = BipartiteGraph(indptr, self.indices[keep], self.items)
        # Degrees of the whole graph, not of what is left: dropout must not change who is popular.
        thin.__dict__["weights"] = (self.weights[keep] / (1 - rate)).astype(np.float32)
        return thin

    def layers(self, people: Tensor, items: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
        """Layers 0..count of (people [P, d], items [I, d])."""
        if count < 0:
            raise ConfigError(f"layers is {count}", fix="use 0 (no graph) or more")
        out = [(people, items)]
        for _ in range(count):
            people, items = self._step(people, items)
            out.append((people, items))
        return out

    def _step(self, people: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        down, up = self._to_people, self._to_items
        return _Times.apply(down, up, items), _Times.apply(up, down, people)

    def propagate(self, people: Tensor, items: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The mean over layers 0..count of people [P, d] and items [I, d]."""
        every = self.layers(people, items, count)
        return mean_of([one for one, _ in every]), mean_of([one for _, one in every])


def mean_of(tensors: list[Tensor]) -> Tensor:
    """Elementwise mean, without stacking them in memory."""
    total = tensors[0]
    for one in tensors[1:]:
        total = total + one
    return total / len(tensors)


def neighbour_vectors(item_layers: list[np.ndarray], item_degrees: np.ndarray) -> np.ndarray:
    """What each item passes on to a person that has it, over all layers: sum of layers 0..K-1 / sqrt(degree); float32 [items, d].

    item_layers: layers 0..K of the items. An item without edges passes on what one with a single edge would.
    """
    total = np.zeros(item_layers[0].shape, np.float32)
    for layer in item_layers[:-1]:
        total += layer
    return total / np.sqrt(np.maximum(item_degrees, 1))[:, None].astype(np.float32)


def propagated_people(own: np.ndarray | None, indptr: np.ndarray, indices: np.ndarray, neighbours: np.ndarray, layers: int) -> np.ndarray:
    """Propagated vectors of people by their histories, whether they are in the graph or not; float32 [people, d].

    own: layer-0 vectors [people, d], or None for zeros. neighbours: from `neighbour_vectors`. For people of the graph this equals what
    `propagate` gives them. Events of the same item must have been merged.
    """
    from scipy.sparse import csr_matrix

    lengths = np.diff(indptr)
    weights = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths).astype(np.float32)
    passed = csr_matrix((weights, indices, indptr), shape=(lengths.size, neighbours.shape[0])) @ neighbours
    return ((passed if own is None else passed + own) / (layers + 1)).astype(np.float32)


class _Times(torch.autograd.Function):
    """Constant sparse matrix times dense, with the transpose given for the backward pass.

    scipy's product is some thirty times faster than torch's on a CPU; other devices use torch's.
    """

    @staticmethod
    def forward(ctx: Any, matrix: csr_matrix, transposed: csr_matrix, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return _product(matrix, dense)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _product(ctx.transposed, gradient[0].contiguous())


def _product(matrix: csr_matrix, dense: Tensor) -> Tensor:
    if dense.device.type == "cpu":
        return torch.from_numpy(matrix @ dense.detach().numpy())
    indptr, indices = torch.from_numpy(matrix.indptr.astype(np.int64)), torch.from_numpy(matrix.indices.astype(np.int64))
    sparse = torch.sparse_csr_tensor(indptr, indices, torch.from_numpy(matrix.data), size=matrix.shape)
    return sparse.to(dense.device) @ dense
