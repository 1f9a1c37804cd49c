"""Losses that wrap another loss of pairs, so that an encoder may be cut in width and depth afterwards.

    loss = NestedLayers(loss=NestedDims(InfoNCE(), dims=(32, 64, 128)))

Each calls the loss it wraps with other views: narrower, or of an earlier layer. What is drawn at random comes from torch's own generator, which
`parts.trainer` seeds per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.errors import ConfigError
from sartor.parts.contrastive import PairLoss, Views


@dataclass(frozen=True)
class NestedDims:
    """The loss of vectors cut to several widths: the mean over them, or over a few that are drawn per step.

    Parameters
    ----------
    loss: of one width.
    dims: the widths, each at most that of the vectors.
    per_step: how many are drawn in each call; 0 takes all.

    Source: Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022.
    """

    loss: PairLoss
    dims: Sequence[int]
    per_step: int = 0

    def __post_init__(self) -> None:
        if not self.dims or min(self.dims) < 1 or not 0 <= self.per_step <= len(self.dims):
            raise ConfigError(f"dims {list(self.dims)}, per_step {self.per_step}", fix="give widths of at least 1, and draw at most as many")

    def __call__(self, views: Views) -> Tensor:
        if max(self.dims) > views.width:
            raise ConfigError(f"vectors of {views.width} dimensions cannot be cut to {max(self.dims)}", fix="leave the larger ones out")
        chosen = torch.randperm(len(self.dims))[: self.per_step or None].tolist()
        return torch.stack([self.loss(views.narrow(self.dims[at])) for at in chosen]).mean()


@dataclass(frozen=True, kw_only=True)
class SelfDistillation:
    """How far a layer's vectors are from the last layer's, as distributions over dimensions: KL(softmax(last / t) || softmax(own / t)) * t.

    The last layer is the teacher and gets no gradient.

    Parameters
    ----------
    temperature: t.
    weight: of the whole.
    """

    temperature: float = 0.3
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"a temperature of {self.temperature}", fix="use one above 0")

    def __call__(self, own: Tensor, teacher: Tensor) -> Tensor:
        """own, teacher float [B, d]; the mean over B."""
        t = self.temperature
        apart = F.kl_div(F.log_softmax(own / t, 1), F.log_softmax(teacher.detach() / t, 1), reduction="batchmean", log_target=True)
        return self.weight * t * apart


@dataclass(frozen=True, kw_only=True)
class NestedLayers:
    """The loss of the last layer plus that of earlier ones, all through one and the same head.

    total = last_weight * loss(last) + mean over drawn layers n of (prior_weight * w(n) * loss(n) + distillation(n, last))

    Parameters
    ----------
    loss: of one depth.
    per_step: how many earlier layers are drawn in each call, from 0 (the word vectors) to the last but one; 0 takes all.
    weighting: w(n) of "uniform" = 1, or "log" = 1 / (1 + ln(1 + n)).
    distillation: None leaves it away.

    Source: Li et al., 2D Matryoshka Sentence Embeddings, 2024.
    """

    loss: PairLoss
    per_step: int = 1
    weighting: Literal["uniform", "log"] = "uniform"
    last_weight: float = 1.0
    prior_weight: float = 1.0
    distillation: SelfDistillation | None = field(default_factory=SelfDistillation)

    def __post_init__(self) -> None:
        if self.weighting not in ("uniform", "log"):
            raise ConfigError(f"there is no weighting '{self.weighting}'", fix='use "uniform" or "log"')
        if self.per_step < 0:
            raise ConfigError(f"{self.per_step} layers per step", fix="draw at least 1, or 0 for all")

    def __call__(self, views: Views) -> Tensor:
        if views.depth < 1:
            raise ConfigError("there is one layer's output only", fix="give the vectors of every layer")
        teacher = views.both()
        total = self.last_weight * self.loss(views)
        drawn = torch.randperm(views.depth)[: self.per_step or None].tolist()
        for layer in drawn:
            weight = 1.0 if self.weighting == "uniform" else 1 / (1 + math.log(1 + layer))
            term = self.prior_weight * weight * self.loss(views.at(layer))
            if self.distillation is not None:
                term = term + self.distillation(views.both(layer), teacher)
            total = total + term / len(drawn)
        return total


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Learn to compress: the loss of the whole vector and of its first dimensions, which should hold its principal components.

    The target is detached: X U S with U S the leading part of softmax(X' X / sqrt(d)) of a batch's vectors X. The distance to it is
    the mean squared error plus temperature * KL between softmaxes over dimensions.

    Parameters
    ----------
    loss: of one width.
    dim: how many dimensions are the compressed vector.

    Source: Li et al., Espresso Sentence Embeddings (the later version of 2D Matryoshka Sentence Embeddings), 2024. Differs from it in: a
    full eigen-decomposition instead of a randomised one; at earlier layers the whole vector counts too.
    """

    loss: PairLoss
    dim: int = 128
    temperature: float = 1.0

    def __call__(self, views: Views) -> Tensor:
        if not 1 <= self.dim <= views.width:
            raise ConfigError(f"vectors of {views.width} dimensions cannot be compressed to {self.dim}", fix="use fewer")
        vectors = views.both()
        with torch.no_grad():
            relations = F.softmax(vectors.T @ vectors / vectors.shape[1] ** 0.5, -1)
            left, sizes, _ = torch.linalg.svd(relations)
            target = vectors @ (left[:, : self.dim] * sizes[: self.dim])
        own, t = vectors[:, : self.dim], self.temperature
        apart = F.kl_div(F.log_softmax(own / t, 1), F.log_softmax(target / t, 1), reduction="batchmean", log_target=True)
        return self.loss(views) + self.loss(views.narrow(self.dim)) + F.mse_loss(own, target) + t * apart
