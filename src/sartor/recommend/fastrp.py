"""FastRP over who chose what: vectors of items without training, and an instant vector for anybody from their items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sartor.method import Run, learned
from sartor.parts.unit import unit
from sartor.recommend._base import PersonalArrays, VectorRecommender
from sartor.represent.fastrp import FastRP

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sartor.data.interactions import Interactions
    from sartor.data.population import Population


@dataclass(kw_only=True, eq=False)
class FastRPRecommender(VectorRecommender):
    """An item scores the cosine of its vector with the person's, both from FastRP on the graph of who chose what.

    Fits in seconds. A person's vector is the one a new node with these items would have, whether or not the person was in the graph, so
    adapting takes microseconds and taking an item away is exact. Fitted methods rank better; this is for graphs too large or too new for
    them. In a graph of people and items, odd powers reach the other side and even ones come back: neighbouring powers both need weight.

    Source: Chen et al., Fast and Accurate Network Embeddings via Very Sparse Random Projection, CIKM 2019.

    State: `vector` float32 [dim], beside the items.
    """

    dim: int = 128
    weights: tuple[float, ...] = (0.0, 0.0, 1.0, 1.0)
    """Of the powers of the transition matrix, from the first."""
    alpha: float = -0.628
    """Exponent of the degree by which hubs are played down as targets."""

    powers_: np.ndarray = learned()
    """float32 [powers, items, dim]: what a person's vector is made from."""
    mean_: np.ndarray = learned()
    """float32 [dim], of all vectors before they were standardised."""
    scale_: np.ndarray = learned()
    """float32 [dim], their standard deviation."""

    def _learn(self, data: Interactions, population: Population, run: Run) -> None:
        from scipy.sparse import bmat

        matrix = data.matrix()
        matrix.data[:] = 1.0
        items = matrix.shape[1]
        projection = FastRP(self.dim, weights=self.weights, alpha=self.alpha, seed=self.seed)
        vectors = projection.fit(bmat([[None, matrix.T], [matrix, None]], format="csr"))
        self.item_vectors_ = unit(vectors[:items])
        self.powers_ = np.stack([power[:items] for power in projection.powers])
        self.mean_, self.scale_ = projection.mean, projection.scale
        self.population_vector_ = unit(vectors[items:]).mean(axis=0)
        self.__dict__.pop("projection", None)

    @cached_property
    def projection(self) -> FastRP:
        """The fitted projection, for new people."""
        made = FastRP(self.dim, weights=self.weights, alpha=self.alpha, seed=self.seed)
        made.powers, made.mean, made.scale = list(self.powers_), self.mean_, self.scale_
        return made

    def _encode(self, histories: Interactions) -> PersonalArrays:
        matrix: csr_matrix = histories.matrix()
        matrix.data[:] = 1.0
        vectors = unit(self.projection.embed(matrix))
        vectors[np.diff(matrix.indptr) == 0] = self.population_vector_
        return {"vector": vectors}
