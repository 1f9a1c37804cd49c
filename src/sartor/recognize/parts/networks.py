"""The small network that identity encoders here are: convolutions, pooled twice, a neck that keeps lengths for one loss and not for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.recognize.parts.images import tensor

STRIPES = 4
"""Of the height, pooled apart: what is above and what below tells people apart, in figures and in faces."""


class IdentityNet(nn.Module):
    """Pictures [B, c, h, w] -> features [B, dim] before the neck, as triplets compare them; `neck` of them is what is compared by cosine.

    The light of each picture is taken out first (every colour to mean 0 and deviation 1). Four convolutions of stride 2, 2, 2 and 1, with group norm;
    the mean over each of four stripes (Sun et al., Beyond Part Models, ECCV 2018) and the maximum over all places, as one vector, projected. The neck
    is a batch norm without shift (Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification, 2019).
    """

    def __init__(self, channels: int = 3, dim: int = 64, widths: Sequence[int] = (24, 48, 96, 128)) -> None:
        super().__init__()
        before, layers = channels, list[nn.Module]()
        for number, width in enumerate(widths):
            stride = 1 if number == len(widths) - 1 else 2
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.GroupNorm(8, width), nn.ReLU(inplace=True)]
            before = width
        self.body = nn.Sequential(*layers)
        self.project = nn.Linear((STRIPES + 1) * before, dim)
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)

    @property
    def dim(self) -> int:
        """Of a vector."""
        return self.project.out_features

    def pooled(self, x: Tensor) -> Tensor:
        """float [B, 5 x width]: the mean of each stripe, and the maximum over all places."""
        x = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 0.05)
        maps = self.body(x)
        return torch.cat([F.adaptive_avg_pool2d(maps, (STRIPES, 1)).flatten(1), maps.amax((2, 3))], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features before the neck."""
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
