"""Random deformations of pictures and volumes: an affine map, and a smooth one that never folds. All random numbers are torch's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Deformation:
    """What is drawn for each subject; a drawn one is a grid [n, *patch, dims] that `warped` takes, for as many pictures as are to share it.

    The smooth part is a stationary velocity field, of normal draws at a few points and linear between them, integrated by scaling and squaring
    (Arsigny et al., A Log-Euclidean Framework for Statistics on Diffeomorphisms, MICCAI 2006). The published settings are for voxels of a millimetre.
    """

    rotation: float = 15.0
    """Degrees, at most, in each plane."""
    shear: float = 0.2
    scaling: float = 0.2
    """Share by which each direction is made larger or smaller, at most."""
    bend: float = 4.0
    """Millimetres, the largest standard deviation of the velocity field's points; each subject's own is drawn below it."""
    points: tuple[int, int] = (4, 8)
    """Of the velocity field in each direction, at least and at most."""
    squarings: int = 8

    def sample(self, n: int, shape: Sequence[int], patch: Sequence[int], spacing: float = 1.0) -> Tensor:
        """float32 [n, *patch, dims]: where in pictures of `shape` each place of a patch is looked up, in voxels.

        Parameters
        ----------
        patch: not larger than `shape`; smaller patches lie anywhere in it.
        spacing: millimetres of a voxel.
        """
        dims = len(shape)
        middle = torch.tensor([(side - 1) / 2 for side in patch])
        field = self.displacement(n, patch, spacing)
        places = identity(patch) - middle + field.movedim(1, -1)
        matrix = self.affine(n, dims)
        room = torch.tensor([(whole - part) / 2 for whole, part in zip(shape, patch, strict=True)])
        centre = torch.tensor([(side - 1) / 2 for side in shape]) + room * (2 * torch.rand(n, dims) - 1)
        flat = places.reshape(n, -1, dims) @ matrix.transpose(1, 2) + centre[:, None]
        return flat.reshape(n, *patch, dims)

    def affine(self, n: int, dims: int) -> Tensor:
        """float32 [n, dims, dims]: scaling x shear x rotation, of determinant scaling alone."""
        out = torch.eye(dims).repeat(n, 1, 1)
        for first in range(dims):
            for second in range(first + 1, dims):
                angle = torch.deg2rad(self.rotation * (2 * torch.rand(n) - 1))
                turn = torch.eye(dims).repeat(n, 1, 1)
                turn[:, first, first] = turn[:, second, second] = angle.cos()
                turn[:, first, second], turn[:, second, first] = -angle.sin(), angle.sin()
                out = turn @ out
        shears = self.shear * (2 * torch.rand(n, dims, dims) - 1)
        one = torch.eye(dims)
        out = (one + shears.tril(-1)) @ (one + shears.triu(1)) @ out
        return (1 + self.scaling * (2 * torch.rand(n, dims, 1) - 1)) * out

    def displacement(self, n: int, patch: Sequence[int], spacing: float = 1.0) -> Tensor:
        """float32 [n, dims, *patch], in voxels: the velocity field, followed for one unit of time."""
        dims = len(patch)
        low, high = self.points
        count = int(torch.randint(low, high + 1, ()))
        spread = self.bend / spacing * torch.rand(n, *[1] * (dims + 1))
        return integrated(enlarged(spread * torch.randn(n, dims, *[count] * dims), patch), self.squarings)


def integrated(velocity: Tensor, squarings: int) -> Tensor:
    """float32 [n, dims, *shape]: the displacement at time 1 of the flow of a velocity field [n, dims, *shape], both in voxels."""
    out = velocity / 2**squarings
    grid = identity(velocity.shape[2:])
    for _ in range(squarings):
        out = out + warped(out, grid + out.movedim(1, -1))
    return out


def identity(shape: Sequence[int]) -> Tensor:
    """float32 [*shape, dims]: every place's own coordinates, in voxels."""
    return torch.stack(torch.meshgrid(*[torch.arange(side, dtype=torch.float32) for side in shape], indexing="ij"), -1)


def warped(images: Tensor, grid: Tensor, *, nearest: bool = False) -> Tensor:
    """Images [n, c, *shape] looked up at a grid [n, *patch, dims] of voxels; what lies outside is as the edge is."""
    size = torch.tensor(images.shape[2:], dtype=torch.float32)
    # The sampler wants coordinates from -1 to 1, and the last direction first.
    places = (2 * grid / (size - 1).clamp_min(1) - 1).flip(-1)
    return F.grid_sample(images, places, mode="nearest" if nearest else "bilinear", padding_mode="border", align_corners=True)


def enlarged(small: Tensor, shape: Sequence[int]) -> Tensor:
    """float32 [n, c, *shape], linear between the points of [n, c, *points], whose first and last lie on the edges."""
    if min(small.shape[2:]) == 1:
        return small.expand(*small.shape[:2], *shape) if max(small.shape[2:]) == 1 else F.interpolate(small, tuple(shape))
    return F.interpolate(small, tuple(shape), mode="bilinear" if len(shape) == 2 else "trilinear", align_corners=True)
