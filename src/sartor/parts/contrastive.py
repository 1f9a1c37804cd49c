"""Contrastive learning from pairs: which pairs a batch holds, what is lost on them, and modifiers that wrap another loss.

A loss is called with `Views`, the vectors of both sides of a batch of pairs at every depth of the encoder that made them; a modifier
calls the loss it wraps with other views: narrower, or of an earlier layer.

    loss = NestedLayers(NestedDims(InfoNCE(), dims=(32, 64, 128)))       # may be cut in depth and width afterwards

What modifiers draw at random comes from torch's own generator, which `parts.trainer` seeds per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.errors import ConfigError, EmptyData
from sartor.parts import losses
from sartor.parts.samplers import order


class Views(NamedTuple):
    """Two sides of B pairs: row i of both belong together."""

    a: Sequence[Tensor]
    """float [B, d] for every depth; the last is the encoder's own output, index 0 the word vectors alone. One is enough."""
    b: Sequence[Tensor]
    ids: Tensor | None = None
    """int64 [B]: pairs with the same id are no negatives of each other."""
    grades: Tensor | None = None
    """float [B]: how alike the two sides are, for losses of graded pairs."""

    @property
    def depth(self) -> int:
        """How many layers there are below the output, word vectors included."""
        return len(self.a) - 1

    @property
    def width(self) -> int:
        return int(self.a[-1].shape[1])

    def at(self, layer: int) -> Views:
        """As if the encoder ended after this layer."""
        return self._replace(a=self.a[: layer + 1], b=self.b[: layer + 1])

    def narrow(self, dim: int) -> Views:
        """The first dimensions only."""
        return self._replace(a=[one[:, :dim] for one in self.a], b=[one[:, :dim] for one in self.b])

    def both(self, layer: int = -1) -> Tensor:
        """float [2 B, d]: the vectors of both sides at one depth."""
        return torch.cat([self.a[layer], self.b[layer]])


PairLoss = Callable[[Views], Tensor]
"""A scalar, to be minimised."""


@dataclass(frozen=True, kw_only=True)
class InfoNCE:
    """Each row should find its partner among all partners of the batch (also called multiple negatives ranking).

    Parameters
    ----------
    scale: of the similarities; 20 is usual for cosines.
    similarity: "cosine", or "dot" for the raw product.
    symmetric: the mean of both directions.
    targets: "diagonal", the own partner; or "agreed", the row whose two sides together are nearest to the own ones,
        argmax over j of a_i a_j + b_i b_j (Hallee et al. 2024), which for vectors of unit length is the diagonal.

    Source: van den Oord et al. 2018; Henderson et al. 2017.
    """

    scale: float = 20.0
    similarity: Literal["cosine", "dot"] = "cosine"
    symmetric: bool = True
    targets: Literal["diagonal", "agreed"] = "diagonal"

    def __call__(self, views: Views) -> Tensor:
        a, b = views.a[-1], views.b[-1]
        if self.similarity == "cosine":
            a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
        temperature = 1 / self.scale
        if self.targets == "agreed":
            logits = a @ b.T / temperature
            agreed = (a @ a.T + b @ b.T).detach().argmax(1)
            value = losses.full_softmax(logits, agreed)
            return (value + losses.full_softmax(logits.T, agreed)) / 2 if self.symmetric else value
        value = losses.in_batch_softmax(a, b, temperature=temperature, ids=views.ids)
        return (value + losses.in_batch_softmax(b, a, temperature=temperature, ids=views.ids)) / 2 if self.symmetric else value


@dataclass(frozen=True, kw_only=True)
class CoSENT:
    """Pairs of a higher grade should have the higher cosine: log(1 + sum over grade_i > grade_j of exp(scale (cos_j - cos_i))).

    Source: Su, CoSENT, 2022.
    """

    scale: float = 20.0

    def __call__(self, views: Views) -> Tensor:
        if views.grades is None:
            raise ConfigError("the pairs have no grades", fix="give grades, or use a loss that needs none, such as InfoNCE")
        cosine = self.scale * F.cosine_similarity(views.a[-1], views.b[-1])
        wrong = (cosine[None, :] - cosine[:, None]).masked_fill(views.grades[:, None] <= views.grades[None, :], -torch.inf)
        return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong.flatten()]), 0)


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


@dataclass(kw_only=True)
class PairSampler:
    """Which pairs stand together in a batch, and so which are negatives of each other.

    Parameters
    ----------
    batch_size: at least 2; a last batch of one pair, which has no negative, is left out.
    steps: batches per epoch, going through the pairs again and again; 0 is one pass.
    domains: int [pairs]; with `mixed=False` a batch holds pairs of one domain only, and domains take turns in random order, as often each.
    mixed: batches across domains. Their negatives are easy; `crossing` says how large a share of all negatives crossed domains so far.
    """

    batch_size: int = 64
    steps: int = 0
    domains: np.ndarray | None = None
    mixed: bool = True
    negatives: int = field(default=0, init=False)
    crossed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.steps < 0:
            raise ConfigError(f"batch_size {self.batch_size}, steps {self.steps}", fix="use at least 2 pairs per batch, and 0 or more steps")

    @property
    def crossing(self) -> float:
        """Share of in-batch negatives that were of another domain than their row, so far."""
        return self.crossed / self.negatives if self.negatives else 0.0

    def batches(self, rng: np.random.Generator, pairs: int) -> Iterator[np.ndarray]:
        """One epoch: row numbers int64 [b] of `pairs` pairs."""
        if pairs < 2:
            raise EmptyData(f"{pairs} pairs", fix="give at least 2: the others' partners are the negatives")
        stream = self._once(rng, pairs) if not self.steps else self._again(rng, pairs)
        for at, rows in enumerate(stream):
            if self.steps and at == self.steps:
                return
            if self.domains is not None:
                counts = np.unique(self.domains[rows], return_counts=True)[1]
                self.negatives += rows.size * (rows.size - 1)
                self.crossed += rows.size**2 - int((counts**2).sum())
            yield rows

    def _again(self, rng: np.random.Generator, pairs: int) -> Iterator[np.ndarray]:
        while True:
            before = 0
            for rows in self._once(rng, pairs):
                before += 1
                yield rows
            if not before:
                raise EmptyData("no domain has two pairs", fix="give more, or mix domains")

    def _once(self, rng: np.random.Generator, pairs: int) -> Iterator[np.ndarray]:
        if self.domains is None or self.mixed:
            yield from (rows for rows in order(rng, pairs, self.batch_size) if rows.size > 1)
            return
        members = [np.flatnonzero(self.domains == one) for one in np.unique(self.domains)]
        turns = [[rows[chosen] for chosen in order(rng, rows.size, self.batch_size) if chosen.size > 1] for rows in members]
        for turn in range(max(map(len, turns))):
            for which in rng.permutation(len(turns)):
                if turns[which]:
                    yield turns[which][turn % len(turns[which])]


def co_occurring(groups: np.ndarray, members: np.ndarray, per_group: int, rng: np.random.Generator) -> np.ndarray:
    """Positive pairs out of what stands together: papers cited by one paper, items of one basket, skills of one advertisement.

    groups, members int [n]: member i is in group i. Returns int64 [pairs, 2], at most `per_group` different pairs of different members
    from each group, in random order within a pair; groups of one member give none.
    """
    kept = np.unique(np.stack([groups, members], 1), axis=0)
    found = []
    for own in np.split(kept[:, 1], np.flatnonzero(np.diff(kept[:, 0])) + 1):
        first, second = np.triu_indices(own.size, 1)
        chosen = rng.permutation(first.size)[:per_group]
        pair = np.stack([own[first[chosen]], own[second[chosen]]], 1)
        found.append(rng.permuted(pair, axis=1))
    return np.concatenate(found).astype(np.int64) if found else np.empty((0, 2), np.int64)
