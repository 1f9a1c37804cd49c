"""The small network that identity encoders here are: convolutions, pooled by place, a neck that keeps lengths for one loss and not for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.recognize.parts.images import tensor

STRIPES = 4
"""Of the height, whose largest values are pooled apart: what is above and what below tells people apart, in figures and in faces."""
PLACES = (8, 4)
"""Rows and columns of the grid over which learned sums are taken."""
SUMS = 4
"""Learned sums of each map."""


class IdentityNet(nn.Module):
    """Pictures [B, c, h, w] -> features [B, dim] before the neck; `neck` of them is what is compared by cosine.

    Every picture is given twice: as it is, and with every colour at mean 0 and deviation 1, without the light. Four convolutions of stride 2, 2, 2
    and 1, with batch norm. Maps are pooled by the maximum of each of four stripes (Sun et al., Beyond Part Models, ECCV 2018), and by four sums of
    each map whose weights by place are learned (Chen et al., MobileFaceNets, 2018): who is looked for stands in the middle, before what does not
    matter, which a plain mean does not know. The neck is a batch norm without shift (Luo et al., Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification, 2019).
    """

    def __init__(self, channels: int = 3, dim: int = 64, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        before, layers = 2 * channels, list[nn.Module]()
        for number, width in enumerate(widths):
            stride = 1 if number == len(widths) - 1 else 2
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            before = width
        self.body = nn.Sequential(*layers)
        self.sums = nn.Conv2d(before, SUMS * before, PLACES, groups=before)
        self.project = nn.Linear((SUMS + STRIPES) * before, dim)
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)

    @property
    def dim(self) -> int:
        """Of a vector."""
        return self.project.out_features

    def pooled(self, x: Tensor) -> Tensor:
        """float [B, 8 x width]: learned sums of each map, and its maximum in each stripe."""
        even = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 0.05)
        maps = self.body(torch.cat([x, even], 1))
        return torch.cat([self.sums(F.adaptive_avg_pool2d(maps, PLACES)).flatten(1), F.adaptive_max_pool2d(maps, (STRIPES, 1)).flatten(1)], 1)

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
