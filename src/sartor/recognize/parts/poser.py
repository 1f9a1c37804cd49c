"""A small generator: the person of one picture, in the pose of a map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.errors import EmptyData
from sartor.parts.trainer import Trainer, seeded
from sartor.recognize.parts.images import tensor


class Poser(nn.Module):
    """Reference [B, 3, h, w] and pose map [B, 3, h, w] -> picture [B, 3, h, w] in [-1, 1].

    What somebody looks like passes as vectors of eight horizontal stripes of the reference, without where in the stripe; where things are comes from
    the map. Height a multiple of 8.
    """

    def __init__(self, width: int = 32, look: int = 48) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(8, 2 * width),
            nn.ReLU(), nn.Conv2d(2 * width, look, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.down1 = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.GroupNorm(8, width), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(8, 2 * width), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(2 * width + look, 2 * width, 3, 1, 1), nn.GroupNorm(8, 2 * width), nn.ReLU())
        self.up1 = nn.Sequential(nn.Conv2d(3 * width, width, 3, 1, 1), nn.GroupNorm(8, width), nn.ReLU())
        self.up2 = nn.Conv2d(width + 3 + 16, 16, 3, 1, 1)
        self.colour = nn.Conv2d(look, 16, 1)
        self.out = nn.Conv2d(16, 3, 1)

    def forward(self, reference: Tensor, pose: Tensor) -> Tensor:
        """The picture."""
        looks = self.look(reference)
        stripes = 0.5 * (looks.mean(3, keepdim=True) + looks.amax(3, keepdim=True))
        first = self.down1(pose)
        second = self.down2(first)
        spread = F.interpolate(stripes, size=second.shape[2:], mode="bilinear", align_corners=False)
        middle = self.middle(torch.cat([second, spread], 1))
        upper = self.up1(torch.cat([F.interpolate(middle, scale_factor=2.0, mode="nearest"), first], 1))
        tint = F.interpolate(self.colour(stripes), size=pose.shape[2:], mode="bilinear", align_corners=False)
        last = F.relu(self.up2(torch.cat([F.interpolate(upper, scale_factor=2.0, mode="nearest"), pose, tint], 1)))
        return torch.tanh(self.out(last))

    def drawn(self, images: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """uint8 [n, poses, h, w, 3]: each person in each pose."""
        self.eval()
        out = np.empty((len(images), len(poses), *images.shape[1:]), np.uint8)
        maps = tensor(poses)
        with torch.no_grad():
            for at in range(0, len(images), 64):
                x = tensor(images[at : at + 64])
                for number in range(len(poses)):
                    made = self(x, maps[number : number + 1].expand(len(x), -1, -1, -1))
                    out[at : at + 64, number] = ((made + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return out


def train_poser(images: np.ndarray, poses: np.ndarray, looks: np.ndarray, *, steps: int, seed: int, progress: bool = False) -> Poser:
    """A generator that has learned, from pairs of pictures of one look, to draw the second from the first and the second's pose map (L1)."""
    _, number = np.unique(looks, return_inverse=True)
    rows = [found for one in range(number.max() + 1) if (found := np.flatnonzero(number == one)).size > 1]
    if not rows:
        raise EmptyData("no look is seen twice, so that there is no pair to learn from", fix="give several pictures in one outfit")
    with seeded(seed):
        network = Poser()

    def batches(rng: np.random.Generator) -> Iterator[np.ndarray]:
        for _ in range(steps):
            yield np.stack([rng.choice(rows[one], 2, replace=False) for one in rng.integers(len(rows), size=32)], 1)

    def loss(pairs: np.ndarray) -> Tensor:
        made = network(tensor(images[pairs[:, 0]]), tensor(poses[pairs[:, 1]]))
        return F.l1_loss(made, tensor(images[pairs[:, 1]]))

    Trainer(epochs=1, learning_rate=2e-3, seed=seed, schedule=lambda _, step: 1.0 if step < 0.7 * steps else 0.2).fit(
        network, batches, loss, progress=progress, description="learning to draw in a pose"
    )
    return network
