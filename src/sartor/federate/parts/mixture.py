"""Small classifiers of an autoencoder's codes: base ones from the samples that suit a user, and a mixture of them that learns from few labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sartor.federate.federation import Examples
from sartor.federate.parts.networks import Flat
from sartor.federate.parts.shards import Batch, Shards
from sartor.federate.parts.training import Optimizer, classify, train


@dataclass(frozen=True, eq=False)
class Mixture:
    """Classifiers for many users at once, each on the codes of its own autoencoder."""

    autoencoder: Flat
    """Gives codes [n, code] with `code=True`, else inputs rebuilt."""
    head: Flat
    """One classifier, from codes to logits."""
    suits: Sequence[float]
    """Shares of the labelled samples, the best rebuilt first, that each base classifier learns from."""
    lr: float
    batch: int
    seed: int

    def base(self, autoencoders: Tensor, x: Tensor, y: np.ndarray, epochs: int) -> Tensor:
        """float [k, suits, numbers]: classifiers for users with these autoencoders [k, ...], from samples x [n, d] and labels y [n]."""
        parts = []
        with torch.no_grad():
            for own in autoencoders:
                order = (self.autoencoder.logits(own, x) - x).square().mean(1).argsort().numpy()
                codes = self.autoencoder.logits(own, x, code=True).numpy()
                best = [order[: max(1, round(share * len(order)))] for share in self.suits]
                parts += [Examples(codes[rows], y[rows]) for rows in best]
        start = self.head.initial(self.seed).repeat(len(parts), 1)
        optimizer, key = Optimizer("adam", self.lr), (self.seed, 1 << 20)
        ends = train(self.head, start, Shards(parts), classify(self.head), optimizer, epochs=epochs, batch=self.batch, key=key)
        return ends.view(len(autoencoders), len(self.suits), -1)

    def logs(self, table: Tensor, codes: Tensor) -> Tensor:
        """log probabilities [k, n, classes]: each user's mixing weights and classifiers [k, suits + suits * numbers] on its codes [k, n, code]."""
        k, many = len(table), len(self.suits)
        each = self.head.batched(table[:, many:].reshape(k * many, -1), codes.repeat_interleave(many, 0)).view(k, many, codes.shape[1], -1)
        return torch.logsumexp(torch.log_softmax(table[:, :many], dim=1)[:, :, None, None] + torch.log_softmax(each, dim=3), dim=1)

    def tuned(self, table: Tensor, autoencoders: Tensor, parts: Sequence[Examples], epochs: int) -> Tensor:
        """Mixing weights and classifiers after some epochs on each user's own labels; those of users without labels stay."""
        if not epochs or not any(part.labelled for part in parts):
            return table
        with torch.no_grad():
            codes = [self.autoencoder.logits(own, torch.from_numpy(part.x), code=True).numpy() for own, part in zip(autoencoders, parts, strict=True)]
        shards = Shards([Examples(code, part.y) for code, part in zip(codes, parts, strict=True)])

        def loss(own: Tensor, batch: Batch) -> Tensor:
            found = self.logs(own, batch.inputs[0]).gather(2, batch.y[:, :, None])[:, :, 0]
            return -(found * batch.weight).sum(1) / batch.weight.sum(1).clamp(min=1)

        return train(self.head, table, shards, loss, Optimizer("adam", self.lr), epochs=epochs, batch=self.batch, key=(self.seed, 1 << 21))


def code_classifier(code: int, width: int, classes: int) -> nn.Module:
    """Two layers on codes that are normalised each alone."""
    return nn.Sequential(nn.LayerNorm(code, elementwise_affine=False), nn.Linear(code, width), nn.ReLU(), nn.Linear(width, classes))
