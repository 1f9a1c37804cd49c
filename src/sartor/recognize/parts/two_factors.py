"""One picture, two factors: a feature of who it is and one of what is worn, told apart in training, and how far each picture can be relied on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.parts.losses import supervised_contrast
from sartor.parts.trainer import seeded
from sartor.recognize.parts.images import tensor
from sartor.recognize.parts.networks import IdentityNet
from sartor.recognize.parts.trainer import IdentityTrainer


class Features(NamedTuple):
    """Of n pictures: float32 [n, dim] of length 1 each, and [n]."""

    whole: np.ndarray
    who: np.ndarray
    clothes: np.ndarray
    reliability: np.ndarray
    """1 - variance, 0 to 1."""

    @property
    def vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three features."""
        return self.whole, self.who, self.clothes

    def rows(self, rows: np.ndarray) -> Features:
        """Some of them."""
        return Features(*(one[rows] for one in self))


class TwoFactorNet(IdentityNet):
    """An `IdentityNet` whose pooled vector also goes through two decoupling blocks and a head of its uncertainty."""

    def __init__(self, channels: int = 3, dim: int = 64, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__(channels, dim, widths)
        pooled = self.project.in_features

        def block() -> nn.Sequential:
            return nn.Sequential(nn.Linear(pooled, dim), nn.ReLU(), nn.Linear(dim, dim), nn.BatchNorm1d(dim))

        self.who, self.clothes, self.uncertain = block(), block(), nn.Linear(pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Joint features before the neck; what the other heads need of them is kept until the next call."""
        self.last = self.pooled(x)
        features: Tensor = self.project(self.last)
        return features

    def split(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Identity [B, dim], clothes [B, dim] and variance [B, 1] in (0, 1)."""
        return self.who(pooled), self.clothes(pooled), torch.sigmoid(self.uncertain(pooled))


def train_two_factors(
    images: np.ndarray, people: np.ndarray, outfits: np.ndarray, *, dim: int, steps: int, variants: int, adversarial: float, seed: int,
    progress: bool = False,
) -> TwoFactorNet:  # fmt: skip
    """A network whose identity feature does not know the clothes.

    Losses: label-smoothed cross-entropy and contrast of people on the joint feature (1.0) and on the identity feature (0.5), cross-entropy of
    outfits on the clothes feature (0.5); the clothes-based adversarial loss on the identity feature (Gu et al., CVPR 2022: a classifier of outfits
    is trained on it, and the feature is made to give all outfits of its person the same chance); and people on variants of the identity feature,
    moved as far as its own variance says (0.5), half of them in any direction and half along those in which people's features move when they change
    clothes, with 0.3 x (1 - variance), which keeps the variance from collapsing.
    """
    who, wears = (torch.from_numpy(np.unique(one, return_inverse=True)[1].astype(np.int64)) for one in (people, outfits))
    n_people, n_outfits = int(who.max()) + 1, int(wears.max()) + 1
    owner = torch.zeros(n_outfits, dtype=torch.int64)
    owner[wears] = who
    with seeded(seed):
        network = TwoFactorNet(images.shape[-1], dim)
        by_who, by_clothes, spy = (nn.Linear(dim, n, bias=False) for n in (n_people, n_outfits, n_outfits))
        for head in (by_who, by_clothes, spy):
            nn.init.normal_(head.weight, std=0.01)

    def more(x: Tensor, joint: Tensor, rows: Tensor) -> Tensor:
        identity, clothes, variance = network.split(network.last)
        person, outfit = who[rows], wears[rows]
        loss = 0.5 * F.cross_entropy(by_who(identity), person, label_smoothing=0.1) + 0.5 * F.cross_entropy(by_clothes(clothes), outfit)
        loss = loss + 0.5 * supervised_contrast(identity, person)
        # The spy learns to see clothes in the identity feature; the feature learns that the spy sees nothing.
        loss = loss + F.cross_entropy(_cosine(identity.detach(), spy.weight), outfit)
        loss = loss + adversarial * _unseen(_cosine(identity, spy.weight.detach()), person, owner)
        spreads = (variance, variance * _across_clothes(identity.detach(), person, outfit))
        for _ in range(variants):
            for spread in spreads:
                drawn = identity + spread * torch.randn_like(identity)
                loss = loss + 0.5 * F.cross_entropy(by_who(drawn), person, label_smoothing=0.1) / (2 * variants)
        return loss + 0.5 * 0.3 * F.relu(1 - variance).mean()

    heads = [one for head in (by_who, by_clothes, spy) for one in head.parameters()]
    IdentityTrainer(dim=dim, steps=steps, seed=seed).fit(images, people, network=network, more=more, parameters=heads, progress=progress)
    del network.last
    return network


def _cosine(vectors: Tensor, weights: Tensor, scale: float = 16.0) -> Tensor:
    return scale * F.normalize(vectors, dim=1) @ F.normalize(weights, dim=1).T


def _unseen(logits: Tensor, person: Tensor, owner: Tensor) -> Tensor:
    """All outfits of one's own person as positives of equal weight, each against the outfits of others."""
    own = owner[None] == person[:, None]
    others = torch.logsumexp(logits.masked_fill(own, -torch.inf), 1, keepdim=True)
    each = torch.logaddexp(logits, others) - logits
    return ((each * own).sum(1) / own.sum(1)).mean()


def _across_clothes(identity: Tensor, person: Tensor, outfit: Tensor) -> Tensor:
    """float [B, dim], of mean square 1: how much each dimension moves between an outfit's mean and the same person in others; 0 without any other."""
    worn = (outfit[:, None] == outfit[None]).float()
    other = ((person[:, None] == person[None]).float() - worn).clamp_min(0)
    mean = worn @ identity / worn.sum(1, keepdim=True)
    count = other.sum(1, keepdim=True).clamp_min(1)
    # The mean of (mean - other)^2 without the [B, B, dim] of all differences.
    moved = (other.sum(1, keepdim=True) * mean.square() - 2 * mean * (other @ identity) + other @ identity.square()) / count
    return F.normalize(moved.clamp_min(0), dim=1) * identity.shape[1] ** 0.5


def features(network: TwoFactorNet, images: np.ndarray, *, batch: int = 256) -> Features:
    """Features of uint8 [n, h, w, c], of each picture and its mirror image together."""
    network.eval()
    parts: list[list[Tensor]] = []
    with torch.no_grad():
        for at in range(0, len(images), batch):
            x = tensor(images[at : at + batch])
            sums: list[Tensor] = []
            for view in (x, x.flip(-1)):
                pooled = network.pooled(view)
                made = [network.neck(network.project(pooled)), *network.split(pooled)]
                sums = made if not sums else [a + b for a, b in zip(sums, made, strict=True)]
            parts.append(sums)
    whole, who, clothes, variance = (torch.cat(one) for one in zip(*parts, strict=True))
    whole, who, clothes = (F.normalize(one, dim=1) for one in (whole, who, clothes))
    return Features(whole.numpy(), who.numpy(), clothes.numpy(), (1 - variance[:, 0] / 2).numpy())
