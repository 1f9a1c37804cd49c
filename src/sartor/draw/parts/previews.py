"""Pictures while they are being drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sartor.draw.parts.prior import Prior
from sartor.draw.parts.sampler import Watch
from sartor.errors import ConfigError


@dataclass(frozen=True)
class Preview:
    """Shows what pictures are going to be, as far as the denoiser knows by then: its estimate of the clean picture, not the noised one."""

    every: int
    """Steps between two looks."""
    see: Callable[[int, list[int], np.ndarray], None]
    """(steps done, which of the pictures that were asked for, uint8 [n, H, W, 3])."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"a preview every {self.every} steps", fix="use at least 1")

    def of(self, rows: Sequence[int]) -> Preview:
        """For some of the pictures, which are then drawn as if there were no others."""
        return Preview(self.every, lambda step, own, pictures: self.see(step, [rows[one] for one in own], pictures))

    def watch(self, prior: Prior, rows: Sequence[int]) -> Watch:
        """What a sampler tells of these pictures."""

        def seen(step: int, latents: Tensor) -> None:
            if (step + 1) % self.every == 0:
                self.see(step + 1, list(rows), prior.images(latents))

        return seen
