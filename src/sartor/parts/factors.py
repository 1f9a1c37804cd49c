"""Vectors of people and items to be trained together: two tables, plain or hashed, propagated over a graph when there is one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sartor.parts.graph import BipartiteGraph


class Table(nn.Module):
    """One trainable vector per id: float32 [count, dim], normal with the given standard deviation."""

    def __init__(self, count: int, dim: int, *, std: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, dim) * std)

    def forward(self) -> Tensor:
        """All vectors [count, dim]."""
        return self.weight


class Factors(nn.Module):
    """Layer-0 vectors of both sides, and what a graph makes of them.

    people, items: modules whose call gives all vectors of that side. With no graph, or 0 layers, this is matrix factorisation.
    """

    def __init__(self, people: nn.Module, items: nn.Module, *, graph: BipartiteGraph | None = None, layers: int = 0) -> None:
        super().__init__()
        self.people, self.items = people, items
        self.graph, self.layers = graph, layers

    def forward(self, graph: BipartiteGraph | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Propagated people [P, d] and items [I, d], then both sides' layer 0 (what L2 is for).

        graph: another one for this pass, e.g. with edges dropped.
        """
        people, items = self.people(), self.items()
        used = graph or self.graph
        if used is None or not self.layers:
            return people, items, people, items
        return *used.propagate(people, items, self.layers), people, items

    def item_layers(self) -> list[Tensor]:
        """Layers 0..K of the items."""
        if self.graph is None or not self.layers:
            return [self.items()]
        return [one for _, one in self.graph.layers(self.people(), self.items(), self.layers)]
