"""A U-Net whose last map describes every place of a picture or of a volume: the same code in two and in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import ConfigError

GROUPS = 8
"""Of every group norm; one where the number of maps is no multiple."""


class UNet(nn.Module):
    """Pictures [B, channels, h, w], or volumes [B, channels, d, h, w], of any size -> maps [B, widths[0], ...] of the same size.

    Each level is twice a group norm, a convolution of 3 and a leaky rectifier; maxima over two go down, nearest neighbours and the level's own map go
    up.

    Source: Ronneberger, Fischer and Brox, U-Net, MICCAI 2015; Çiçek et al., 3D U-Net, MICCAI 2016, with group norm (Wu and He, ECCV 2018).
    """

    def __init__(self, channels: int = 1, widths: Sequence[int] = (64, 128, 256, 512, 1024), dims: int = 2) -> None:
        super().__init__()
        if dims not in (2, 3) or len(widths) < 2 or min(widths) < 1:
            raise ConfigError(f"widths {list(widths)} in {dims} dimensions", fix="use 2 or 3 dimensions, and at least two widths")
        self.dims = dims
        before, down, up = channels, list[nn.Module](), list[nn.Module]()
        for width in widths:
            middle = max(width // 2, before)
            down.append(nn.Sequential(_layer(before, middle, dims), _layer(middle, width, dims)))
            before = width
        for width in reversed(widths[:-1]):
            up.append(nn.Sequential(_layer(before + width, width, dims), _layer(width, width, dims)))
            before = width
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.width = before

    def forward(self, x: Tensor) -> Tensor:
        """The last map."""
        pool = F.max_pool2d if self.dims == 2 else F.max_pool3d
        passed = list[Tensor]()
        for number, level in enumerate(self.down):
            x = level(pool(x, 2, ceil_mode=True) if number else x)
            passed.append(x)
        for level, own in zip(self.up, reversed(passed[:-1]), strict=True):
            x = level(torch.cat([own, F.interpolate(x, own.shape[2:])], 1))
        return x


class MapNet(nn.Module):
    """A U-Net, and one convolution of 1 from its last map to `outputs` maps."""

    def __init__(self, widths: Sequence[int], dims: int, outputs: int = 1) -> None:
        super().__init__()
        self.features = UNet(1, widths, dims)
        self.head = convolution(self.features.width, outputs, 1, dims)

    def forward(self, x: Tensor) -> Tensor:
        """What is drawn of it."""
        out: Tensor = self.head(self.features(x))
        return out


def convolution(inside: int, outside: int, size: int, dims: int, *, bias: bool = True) -> nn.Module:
    """A convolution that keeps the size, in two or three dimensions."""
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return kind(inside, outside, size, padding=size // 2, bias=bias)


def _layer(inside: int, outside: int, dims: int) -> nn.Module:
    groups = 1 if inside % GROUPS else GROUPS
    return nn.Sequential(nn.GroupNorm(groups, inside), convolution(inside, outside, 3, dims, bias=False), nn.LeakyReLU(0.01, inplace=True))
