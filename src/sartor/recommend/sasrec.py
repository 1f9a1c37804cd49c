"""Self-attention over a person's history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts import losses, samplers
from sartor.parts.sequence import SequenceEncoder
from sartor.recommend._sequential import Batch, SequentialRecommender, Tied

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions


@dataclass(kw_only=True, eq=False)
class SASRec(SequentialRecommender):
    """The next item from the newest items by causal self-attention; item vectors are tied to the output.

    For people whose order of events says something, in catalogues up to some 100,000 items with the default full softmax, and beyond
    with `loss="sampled_softmax"`. It needs minutes of training where EASE needs seconds, and gives more for it: on the last item of
    ml-100k an NDCG@10 of 0.092 against 0.071, both tuned on the item before; its four settings gave 0.092 to 0.104 (docs/quality.md).

    The defaults are meant for sparse and for small data. On the validation part of ml-100k (943 people, 32 per batch) they reach an
    NDCG@10 of 0.114 and 0.115 on the last item (two seeds) and 0.190 on the last share of events, against 0.106 to 0.113 and 0.191
    with 128 people per batch and `patience=5`; a dropout of 0.2 gave less (0.111 and 0.187). When the best epoch is one of the last,
    raise `epochs`.

    Source: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018. Differs from the paper in: the default loss is the
    softmax over all items, with which SASRec is far stronger (Klenitskiy and Vasilev, RecSys 2023); `loss="bce"` is the published one.
    Attention has an output projection, as in all later implementations. Positions count from the newest item, which is what left
    padding does in the published code.

    State: `items` int32 [n], `vector` float32 [embedding_dim]; 4 bytes per event and per dimension.
    """

    blocks: int = 2
    heads: int = 1
    dropout: float = 0.5
    """Published: 0.5 on sparse data, 0.2 on MovieLens-1M."""
    loss: Literal["softmax", "sampled_softmax", "bce"] = "softmax"
    negatives: int = 256
    """Items drawn per example for the sampled losses: uniformly for "sampled_softmax", unseen by the person for "bce", which published
    with 1."""
    residual: Literal["normed", "raw"] = "normed"
    """What a block adds to: normalised input, as published, or raw input, the pre-norm block common today."""

    def _prepare(self, data: Interactions) -> None:
        if self.loss not in ("softmax", "sampled_softmax", "bce"):
            raise ConfigError(f"there is no loss '{self.loss}'", fix='use "softmax", "sampled_softmax" or "bce"')
        self._seen, self._items = data.matrix(), len(data.items)

    def make_network(self) -> nn.Module:
        return SequenceEncoder(
            self.embedding_dim, blocks=self.blocks, heads=self.heads, dropout=self.dropout, max_length=self.max_length, residual=self.residual
        )

    def _inputs(self, vectors: Tensor) -> Tensor:
        # Published: input vectors are scaled up, output vectors are not.
        return vectors * self.embedding_dim**0.5

    def _optimizer(self) -> dict[str, object]:
        return {**super()._optimizer(), "betas": (0.9, 0.98)}

    def _negatives(self, rng: np.random.Generator, targets: np.ndarray, people: np.ndarray) -> np.ndarray | None:
        if self.loss == "softmax":
            return None
        if self.loss == "sampled_softmax":
            return rng.integers(0, self._items, (targets.size, self.negatives))
        return samplers.unseen(rng, people, self.negatives, self._seen.indptr, self._seen.indices, self._items)

    def _loss(self, network: Tied, batch: Batch) -> Tensor:
        x = network.encoder.ragged(self._inputs(network.items(batch.inputs)), batch.lengths)  # type: ignore[operator]
        table = network.items.weight
        if batch.negatives is None:
            return losses.catalogue_softmax(x, table, batch.targets)
        positive = (x * table[batch.targets]).sum(1)
        negatives = (network.items(batch.negatives) @ x[:, :, None]).squeeze(2)
        if self.loss == "bce":
            return losses.bce(positive, negatives)
        return losses.sampled_softmax(positive, negatives.masked_fill(batch.negatives == batch.targets[:, None], -np.inf))
