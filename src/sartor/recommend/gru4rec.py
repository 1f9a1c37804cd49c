"""Gated recurrent units over a person's history, trained against sampled negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts import losses
from sartor.parts.samplers import Popularity
from sartor.parts.sequence import RecurrentEncoder
from sartor.recommend._sequential import Batch, SequentialRecommender, Tied

if TYPE_CHECKING:
    from sartor.data.interactions import Interactions


@dataclass(kw_only=True, eq=False)
class GRU4Rec(SequentialRecommender):
    """The next item from a recurrent state; negatives are the batch's other targets and popular items, shared by the whole batch.

    For sessions and short histories in large catalogues: the cost of a batch does not grow with the catalogue, but it does with the
    longest history. On the last item of ml-100k its NDCG@10 is 0.092; SASRec's is 0.092 to 0.104,
    depending on settings that validation does not tell apart.

    Source: Hidasi and Karatzoglou, Recurrent Neural Networks with Top-k Gains for Session-based Recommendations, CIKM 2018, with the
    constrained (tied) item embedding of the authors' current code. Differs from it in: whole histories are unrolled in a batch of people,
    instead of one step of many parallel sessions at a time with a carried hidden state; Adagrad has no momentum; a target
    that is drawn as its own negative does not count as one.

    State: `items` int32 [n], `vector` float32 [embedding_dim + 1] (the last is the constant that meets the item bias).
    """

    embedding_dim: int = 100
    learning_rate: float = 0.05
    optimizer: Literal["adagrad", "adam", "adamw", "sgd"] = "adagrad"
    """Published: Adagrad with a rate of 0.05; for Adam take 0.001."""
    layers: int = 1
    dropout_embed: float = 0.3
    """Of the input vectors. The authors' tuned settings go from 0 to 0.5."""
    dropout: float = 0.2
    """Of the hidden state; likewise."""
    loss: Literal["bpr-max", "top1-max", "cross-entropy"] = "cross-entropy"
    negatives: int = 2048
    """Items drawn per batch beside its own targets."""
    sample_alpha: float = 0.5
    """Items are drawn in proportion to popularity ** sample_alpha: 0 is uniform, 1 is by popularity."""
    logq: float = 0.0
    """For cross-entropy: how much of the log sampling probability is subtracted from the scores; 1 corrects fully."""
    bpreg: float = 1.0
    """Score regularisation of bpr-max."""
    elu: float = 0.5
    """Final activation of the scores for bpr-max; 0 is none."""

    def _prepare(self, data: Interactions) -> None:
        if self.loss not in ("bpr-max", "top1-max", "cross-entropy"):
            raise ConfigError(f"there is no loss '{self.loss}'", fix='use "cross-entropy", "bpr-max" or "top1-max"')
        self._popular = Popularity(data.counts(), self.sample_alpha)
        self._log_q = torch.from_numpy(np.stack([Popularity(data.counts(), 1.0).log_q, self._popular.log_q])).to(self.device)

    def make_network(self) -> nn.Module:
        return RecurrentEncoder(self.embedding_dim, layers=self.layers, dropout=self.dropout)

    def _table(self, items: int, encoder: nn.Module) -> Tied:
        return Tied(items, self.embedding_dim, encoder, std=(2.0 / (items + self.embedding_dim)) ** 0.5, bias=True)

    def _optimizer(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer}

    def _negatives(self, rng: np.random.Generator, targets: np.ndarray, people: np.ndarray) -> np.ndarray | None:
        # As many targets of the batch as it has people, which come by popularity, and then the drawn items.
        own = rng.choice(targets, np.unique(people).size)
        return np.concatenate([own, self._popular.draw(rng, self.negatives)])

    def _loss(self, network: Tied, batch: Batch) -> Tensor:
        drawn = batch.negatives
        assert drawn is not None
        inputs = F.dropout(network.items(batch.inputs), self.dropout_embed, network.training)
        x = network.encoder.ragged(inputs, batch.lengths)  # type: ignore[operator]
        scores = torch.addmm(network.bias[drawn], x, network.items(drawn).T)  # type: ignore[index]
        positive = (x * network.items(batch.targets)).sum(1) + network.bias[batch.targets]  # type: ignore[index]
        if self.loss == "bpr-max" and self.elu:
            scores, positive = F.elu(scores, self.elu), F.elu(positive, self.elu)
        if self.loss == "cross-entropy" and self.logq:
            others = drawn.numel() - self.negatives
            scores = scores - self.logq * torch.cat([self._log_q[0, drawn[:others]], self._log_q[1, drawn[others:]]])
            positive = positive - self.logq * self._log_q[0, batch.targets]
        scores = scores.masked_fill(drawn[None, :] == batch.targets[:, None], -torch.inf)
        if self.loss == "bpr-max":
            return losses.bpr_max(positive, scores, regularization=self.bpreg)
        return losses.top1_max(positive, scores) if self.loss == "top1-max" else losses.sampled_softmax(positive, scores)
