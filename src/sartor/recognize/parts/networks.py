"""The small network that identity encoders here are: convolutions, pooled twice, a neck that keeps lengths for one loss and not for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sartor.recognize.parts.images import tensor


class IdentityNet(nn.Module):
    """Pictures [B, c, h, w] -> features [B, dim] before the neck, as triplets compare them; `neck` of them is what is compared by cosine.

    Four convolutions of stride 2, 2, 2 and 1, group-normalised; mean and maximum over places, as one vector, projected. The neck is a batch norm
    without shift (Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification, 2019).
    """

    def __init__(self, channels: int = 3, dim: int = 64, widths: Sequence[int] = (24, 48, 96, 128)) -> None:
        super().__init__()
        before, layers = channels, list[nn.Module]()
        for number, width in enumerate(widths):
            stride = 1 if number == len(widths) - 1 else 2
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.GroupNorm(8, width), nn.ReLU(inplace=True)]
            before = width
        self.body = nn.Sequential(*layers)
        self.project = nn.Linear(2 * before, dim)
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)

    @property
    def dim(self) -> int:
        """Of a vector."""
        return self.project.out_features

    def pooled(self, x: Tensor) -> Tensor:
        """float [B, 2 x width]: mean and maximum over all places."""
        maps = self.body(x)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.project(self.pooled(x))
        return features


def encode(network: IdentityNet, images: np.ndarray, *, flip: bool = True, batch: int = 256) -> np.ndarray:
    """float32 [n, dim] after the neck, of uint8 [n, h, w, c]; with `flip`, the sum of a picture's and of its mirror image's."""
    network.eval()
    out = []
    with torch.no_grad():
        for at in range(0, len(images), batch):
            x = tensor(images[at : at + batch])
            made = network.neck(network(x))
            out.append(made + network.neck(network(x.flip(-1))) if flip else made)
    return torch.cat(out).numpy() if out else np.zeros((0, network.dim), np.float32)
