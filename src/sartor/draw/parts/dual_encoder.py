"""Pictures and prompts as vectors of one space: a small encoder of both, trained on a prior's own world where there is no CLIP for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.draw.parts.prior import Prior
from sartor.parts.losses import in_batch_softmax
from sartor.parts.trainer import Trainer, seeded

STEPS_PER_EPOCH = 50
ENCODED_AT_ONCE = 256
WARMTH = 0.1
"""Temperature of all its contrasts."""
SIDE = 4
"""Pixels a side of what the picture's vector is read from: it says where things are."""


class DualEncoder(nn.Module):
    """Vectors of length sqrt(dim), of latents [n, c, h, w] and of a text encoder's states at the end of prompts [n, width]."""

    def __init__(self, channels: int, width: int, *, dim: int = 64, hidden: int = 64) -> None:
        super().__init__()
        self.dim = dim
        self.look = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1), nn.GELU(), nn.Conv2d(hidden, hidden, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(SIDE),
            nn.Flatten(), nn.Linear(hidden * SIDE**2, dim),
        )  # fmt: skip
        self.say = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def pictures(self, latents: Tensor) -> Tensor:
        """float [n, dim]."""
        return F.normalize(self.look(latents), dim=-1) * self.dim**0.5

    def prompts(self, ends: Tensor) -> Tensor:
        """float [n, dim]."""
        return F.normalize(self.say(ends), dim=-1) * self.dim**0.5


def contrast(a: Tensor, b: Tensor) -> Tensor:
    """InfoNCE of vectors [n, d] that belong together row by row, by their cosines, both ways."""
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    return (in_batch_softmax(a, b, temperature=WARMTH) + in_batch_softmax(b, a, temperature=WARMTH)) / 2


@torch.no_grad()
def states_of(prior: Prior, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Of prompts: states float [n, T, d], and the one at the end of each, float [n, d]."""
    words = [prior.words(prompts[start : start + ENCODED_AT_ONCE]) for start in range(0, len(prompts), ENCODED_AT_ONCE)]
    states = torch.cat([prior.tokens(prior.encode_words(one)) for one in words])
    ends = torch.cat([one.end() for one in words]).to(states.device)
    return states, states[torch.arange(len(states), device=states.device), ends]


def train_dual(
    latents: Tensor, ends: Tensor, cut_out: Tensor, things: np.ndarray, *, dim: int, steps: int, batch: int = 128, learning_rate: float = 1e-3,
    seed: int = 0, progress: bool = False,
) -> DualEncoder:  # fmt: skip
    """From pictures with captions, as CLIP, and from things cut out beside pictures of the same things, for what no word says of individuals.

    latents, ends: of pictures and of their captions, row by row. cut_out, things: latents of things alone on grey, and in which picture [m, 2] (row,
    row of `cut_out`) each is. Source: Radford et al. (CLIP) 2021; Mu et al. (SLIP) 2022.
    """
    with seeded(seed):
        network = DualEncoder(latents.shape[1], ends.shape[1], dim=dim).to(latents.device)
    done = 0

    def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal done
        for _ in range(min(STEPS_PER_EPOCH, steps - done)):
            done += 1
            rows = rng.choice(len(latents), min(batch, len(latents)), replace=False)
            yield torch.from_numpy(rows), torch.from_numpy(things[rng.choice(len(things), min(batch, len(things)), replace=False)])

    def loss(data: tuple[Tensor, Tensor]) -> Tensor:
        rows, pairs = data
        said = contrast(network.pictures(latents[rows]), network.prompts(ends[rows]))
        return said + contrast(network.pictures(latents[pairs[:, 0]]), network.pictures(cut_out[pairs[:, 1]]))

    Trainer(epochs=-(-steps // STEPS_PER_EPOCH), learning_rate=learning_rate, optimizer="adamw", seed=seed, device=str(latents.device)).fit(
        network, batches, loss, progress=progress, description="pictures and words"
    )
    made: Any = network.eval().requires_grad_(False)
    return made
