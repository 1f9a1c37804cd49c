"""Label maps as pictures of any contrast: every label gets a brightness and a graininess at random. All random numbers are torch's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sartor.recognize.parts.corruption import filtered


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """How brightness is drawn, on a scale to 300; from label maps one gets pictures of which no scanner knows.

    Source: Billot et al., SynthSeg, Medical Image Analysis 2023; ranges as in Liu et al., Brain-ID, ECCV 2024.
    """

    means: tuple[float, float] = (25.0, 225.0)
    deviations: tuple[float, float] = (5.0, 25.0)
    dark: float = 0.5
    """Chance that the background (label 0) is 0, as air is."""
    partial: float = 0.125
    """Share of a voxel's brightness that each of its two neighbours in a direction lends to it: voxels on a boundary hold both tissues."""

    def sample(self, n: int, labels: int) -> tuple[Tensor, Tensor]:
        """Means and standard deviations, float32 [n, labels] each."""
        (low, high), (smooth, grainy) = self.means, self.deviations
        means, deviations = low + (high - low) * torch.rand(n, labels), smooth + (grainy - smooth) * torch.rand(n, labels)
        means[:, 0] *= torch.rand(n) >= self.dark
        return means, deviations

    def painted(self, maps: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
        """float32 [n, 1, *shape], not below 0: a normal draw at every voxel of maps int64 [n, *shape] of numbers of labels.

        On boundaries mean and deviation are those of the mixture. Its parts are taken to be grainy together.
        """
        flat = maps.flatten(1)
        both = torch.stack([means.gather(1, flat), deviations.gather(1, flat)], 1).reshape(len(maps), 2, *maps.shape[1:])
        if self.partial:
            both = filtered(both, torch.tensor([self.partial, 1 - 2 * self.partial, self.partial]).expand(len(maps), maps.dim() - 1, 3))
        return (both[:, :1] + both[:, 1:] * torch.randn(len(maps), 1, *maps.shape[1:])).clamp_min(0)
