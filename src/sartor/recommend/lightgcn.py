"""Graph convolution for recommendation, reduced to what helps: averaging neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from sartor.errors import ConfigError
from sartor.parts.factors import Factors
from sartor.parts.graph import BipartiteGraph
from sartor.parts.samplers import pairs, unseen
from sartor.recommend._pairwise import PairwiseRecommender, shared_negatives


@dataclass(kw_only=True, eq=False)
class LightGCN(PairwiseRecommender):
    """One vector per person and item, averaged over the layers of a graph convolution without weights or non-linearities, trained with BPR.

    Stronger than matrix factorisation where people have few events, since vectors are shared along edges. Training costs two sparse
    products per layer and batch.

    Source: He et al., LightGCN, SIGIR 2020. Differs from the paper in: people are folded in after training (`adapt`), also those that were
    trained on; `loss="softmax"` is an addition (Wu et al., On the Effectiveness of Sampled Softmax Loss, 2022).

    State: `vector` float32 [embedding_dim], beside the items; 256 bytes plus 4 per event.
    """

    learning_rate: float = 1e-3
    loss: Literal["bpr", "softmax"] = "bpr"
    """softmax: cosine similarity against `negatives` sampled items shared by a batch."""
    temperature: float = 0.15
    """Of the softmax."""
    negatives: int = 256
    """Of the softmax."""
    edge_dropout: float = 0.0
    """Share of edges left out of the graph, anew in every epoch."""

    def _check(self) -> None:
        super()._check()
        if self.loss not in ("bpr", "softmax"):
            raise ConfigError(f"there is no loss '{self.loss}'", fix="use bpr or softmax")
        if self.temperature <= 0 or self.negatives < 1 or not 0 <= self.edge_dropout < 1:
            raise ConfigError(
                f"temperature {self.temperature}, negatives {self.negatives}, edge_dropout {self.edge_dropout}",
                fix="use temperature > 0, negatives >= 1, 0 <= edge_dropout < 1",
            )

    def _examples(self, rng: np.random.Generator, network: Factors, graph: BipartiteGraph, rows: np.ndarray) -> Iterable[Any]:
        thin = graph.dropped(rng, self.edge_dropout) if self.edge_dropout else graph
        for people, items in pairs(rng, rows, graph.indices, self.batch_size):
            if self.loss == "bpr":
                yield thin, (people, items, unseen(rng, people, 1, graph.indptr, graph.indices, graph.items))
            else:
                yield thin, (people, items, *shared_negatives(rng, people, self.negatives, graph))

    def _loss(self, network: Factors, batch: Any) -> Tensor:
        graph, examples = batch
        if self.loss == "bpr":
            return self._bpr(network(graph), *examples)
        return self._softmax(network(graph), *examples)

    def _cosine_temperature(self) -> float:
        return self.temperature if self.loss == "softmax" else 0.0

    def _fold_in_settings(self) -> dict[str, Any]:
        settings = super()._fold_in_settings()
        if self.loss == "softmax":
            # A cosine does not grow with the vector's length, but the fold-in's pairwise loss keeps lengthening it: small steps stop before.
            settings["learning_rate"] /= 5
        return settings
