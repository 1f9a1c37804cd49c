"""Contrastive learning from pairs: what is lost on a batch of them. Which pairs a batch holds: `parts.pair_sampler`.

A loss is called with `Views`, the vectors of both sides of a batch of pairs at every depth of the encoder that made them. `parts.nested`
has losses that wrap another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.errors import ConfigError
from sartor.parts import losses


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
