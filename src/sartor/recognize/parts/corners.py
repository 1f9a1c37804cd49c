"""Finds the four corners of one flat thing in a picture: a map for each corner, and the mean of its places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import ConfigError
from sartor.parts.trainer import Trainer, seeded
from sartor.recognize.parts.images import checked, tensor
from sartor.recognize.parts.trainer import warm_cosine

_ORDER = (1, 0, 3, 2)
"""Corners of a mirrored picture: left is right."""


class CornerNet(nn.Module):
    """Pictures [B, 3, h, w] -> four corners [B, 4, 2] as shares of width and height.

    Two strides of 2, then wider and wider convolutions, so that each place sees the whole picture; the softmax of each map is where its corner is,
    and its mean is the corner, finer than the map (Luvizon et al., Human Pose Regression by Combining Indirect Part Detection, 2017).
    """

    def __init__(self, width: int = 32, wider: tuple[int, ...] = (1, 2, 4, 6)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width // 2, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(width // 2, width, 3, 2, 1)]
        for step in wider:
            layers += [nn.GroupNorm(8, width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, 1, step, dilation=step)]
        self.body = nn.Sequential(*layers, nn.GroupNorm(8, width), nn.ReLU(inplace=True))
        self.maps = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(self.body(x))
        height, width = maps.shape[-2:]
        share = torch.softmax(maps.flatten(2), -1).view_as(maps)
        column, row = (torch.arange(size) + 0.5 for size in (width, height))
        return torch.stack([(share.sum(2) * column / width).sum(-1), (share.sum(3) * row / height).sum(-1)], -1)


@dataclass(kw_only=True)
class CornerTrainer:
    """Trains a `CornerNet` on pictures whose corners are known; each is mirrored, moved and made brighter or darker at random while it learns.

    Parameters
    ----------
    steps, batch: in all; 600 of 32 pictures of 64 x 64 take half a minute on one core.
    """

    steps: int = 600
    batch: int = 32
    learning_rate: float = 3e-3
    seed: int = 0

    def fit(self, images: np.ndarray, corners: np.ndarray, *, progress: bool = False) -> CornerNet:
        """From uint8 [n, h, w, 3] and float [n, 4, 2] in pixels (upper left, upper right, lower right, lower left of the thing); `ConfigError`,
        `BadImage` and `Diverged` as everywhere."""
        images = checked(images)
        if corners.shape != (len(images), 4, 2) or not len(images):
            raise ConfigError(f"corners of shape {list(corners.shape)} for {len(images)} pictures", fix="give [n, 4, 2]")
        size = torch.tensor([images.shape[2], images.shape[1]], dtype=torch.float32)
        target = torch.from_numpy(np.asarray(corners, np.float32)) / size
        with seeded(self.seed):
            network = CornerNet()

        def batches(rng: np.random.Generator) -> Iterator[np.ndarray]:
            for _ in range(self.steps):
                yield rng.integers(0, len(images), self.batch)

        def loss(rows: np.ndarray) -> Tensor:
            x, where = _moved(tensor(images[rows]), target[rows])
            return nn.functional.smooth_l1_loss(network(x), where, beta=0.02)

        trainer = Trainer(epochs=1, learning_rate=self.learning_rate, seed=self.seed, schedule=warm_cosine(self.steps))
        trainer.fit(network, batches, loss, progress=progress, description="learning corners")
        return network


def located(network: CornerNet, images: np.ndarray) -> np.ndarray:
    """float64 [n, 4, 2], corners in pixels."""
    images = checked(images)
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(tensor(images[at : at + 256])) for at in range(0, len(images), 256)] or [torch.zeros(0, 4, 2)])
    return found.numpy().astype(np.float64) * [images.shape[2], images.shape[1]]


def _moved(x: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrored, moved and scaled by one random map of picture and corners; other gain."""
    n = x.shape[0]
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    scale = 1 + 0.15 * (2 * torch.rand(n) - 1)
    shift = 0.16 * (2 * torch.rand(n, 2) - 1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = flip * scale, scale, shift
    grid = nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    moved = nn.functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    # The grid says where each place of the new picture comes from; corners go the other way. Both from -1 to 1.
    ends = ((2 * corners - 1) - shift[:, None]) / torch.stack([flip * scale, scale], -1)[:, None]
    where = (ends + 1) / 2
    where = torch.where(flip[:, None, None] < 0, where[:, list(_ORDER)], where)
    gain = 1 + 0.3 * (2 * torch.rand(n, 1, 1, 1) - 1) + 0.1 * (2 * torch.rand(n, 3, 1, 1) - 1)
    return ((moved + 1) * gain - 1).clamp(-1, 1), where
