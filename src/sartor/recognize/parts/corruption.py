"""What happens to a picture in a scanner: another gamma, uneven sensitivity, thick slices, noise. All random numbers are torch's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.recognize.parts.deformation import enlarged

SCALE = 300.0
"""Brightness that a gamma leaves as it is."""


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One severity; `corrupted` draws for each picture by itself.

    Source: Liu et al., Brain-ID, ECCV 2024, whose two severities are `MILD` and `SEVERE`. Slices are as thick in both.
    """

    gamma: float
    """Standard deviation of its logarithm."""
    bias: tuple[float, float]
    """Least and largest standard deviation of the logarithm of the sensitivity's points."""
    points: tuple[int, int]
    """Of the sensitivity in each direction, at least and at most."""
    noise: tuple[float, float]
    """Least and largest standard deviation, on the scale to 300."""


MILD = Corruption(gamma=0.01, bias=(0.0, 0.02), points=(1, 3), noise=(0.0, 0.02))
SEVERE = Corruption(gamma=0.1, bias=(0.1, 0.6), points=(3, 5), noise=(5.0, 15.0))


def corrupted(images: Tensor, how: Corruption, spacing: float = 1.0) -> Tensor:
    """float32 [n, 1, *shape], each with maximum 1, from images [n, 1, *shape] on a scale to 300; `spacing` in millimetres of a voxel."""
    n, shape = len(images), images.shape[2:]
    ones = [1] * len(shape)
    images = SCALE * (images / SCALE) ** torch.exp(how.gamma * torch.randn(n, 1, *ones))
    count = int(torch.randint(how.points[0], how.points[1] + 1, ()))
    spread = _between(how.bias, n).reshape(n, 1, *ones)
    images = images * torch.exp(enlarged(spread * torch.randn(n, 1, *[count] * len(shape)), shape))
    apart, thick = resolutions(n, len(shape))
    width = (0.85 + 0.3 * torch.rand(n, 1)) * math.log(5) / math.pi * thick / spacing
    images = blurred(images, torch.where(thick <= spacing, 0.0, width))
    noise = _between(how.noise, n)
    out = torch.stack([_through(one, apart[row] / spacing, noise[row]) for row, one in enumerate(images)])
    return out / out.amax(tuple(range(1, out.dim())), keepdim=True).clamp_min(1e-6)


def resolutions(n: int, dims: int) -> tuple[Tensor, Tensor]:
    """How far apart slices are and how thick each is, float32 [n, dims] each, in millimetres: of a quarter of the scans each, fine in all directions,
    coarse in one (as in clinics), coarse in one and a little in the others (low field), and coarse in all.
    """
    kind = torch.randint(0, 4, (n, 1))
    one = F.one_hot(torch.randint(0, dims, (n,)), dims).bool()
    clinical = torch.where(one, 2.5 + 6 * torch.rand(n, dims), 1.0)
    low_field = torch.where(one, 5.0, 1.3) + 0.4 * torch.rand(n, dims)
    coarse = 2 + 3 * torch.rand(n, dims)
    apart = torch.where(kind == 1, clinical, torch.where(kind == 2, low_field, torch.where(kind == 3, coarse, 1.0)))
    thick = torch.where((kind == 1) & one, torch.minimum(apart, 4 + 2 * torch.rand(n, 1)), apart)
    return apart, thick


def blurred(images: Tensor, widths: Tensor) -> Tensor:
    """Images [n, c, *shape] through a Gaussian of standard deviations float32 [n, dims], in voxels, of their own; 0 leaves a direction as it is."""
    reach = max(1, math.ceil(3 * float(widths.max())))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (steps / widths.clamp_min(1e-3)[..., None]) ** 2)
    return filtered(images, kernels / kernels.sum(-1, keepdim=True))


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Images [n, c, *shape] through kernels float32 [n, dims, odd] of their own, one direction after another; the edge is taken to go on."""
    n, c, *shape = images.shape
    dims, reach = len(shape), kernels.shape[-1] // 2
    filter_ = F.conv2d if dims == 2 else F.conv3d
    flat = images.reshape(1, n * c, *shape)
    for at in range(dims):
        kernel = kernels[:, at].repeat_interleave(c, 0).reshape(n * c, 1, *[-1 if place == at else 1 for place in range(dims)])
        pad = [reach if place == at else 0 for place in reversed(range(dims)) for _ in range(2)]
        flat = filter_(F.pad(flat, pad, mode="replicate"), kernel, groups=n * c)
    return flat.reshape(images.shape)


def _through(image: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
    """One image [1, *shape] at the scanner's own resolution, where its noise is, and back."""
    shape = image.shape[1:]
    small = [max(2, int(side / max(1.0, float(step)))) for side, step in zip(shape, steps, strict=True)]
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    seen = F.interpolate(image[None], small, mode=mode, align_corners=False)
    seen = (seen + noise * torch.randn(seen.shape)).clamp_min(0)
    return F.interpolate(seen, tuple(shape), mode=mode, align_corners=False)[0]


def _between(limits: tuple[float, float], n: int) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * torch.rand(n)
