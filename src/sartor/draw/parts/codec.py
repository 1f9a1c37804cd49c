"""Pictures as latents: an exact space-to-depth codec that stands where a Stable Diffusion has its autoencoder, and pictures in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sartor.draw.parts.photos import open_photo, resized
from sartor.errors import BadImage, ConfigError, EmptyData


class SpaceToDepth(nn.Module):
    """Every block of `factor` x `factor` pixels becomes one latent pixel with 3 * factor**2 channels: lossless, without weights.

    Has what is used of diffusers' `AutoencoderKL`: `encode(x).latent_dist.mode()`, `decode(z).sample`, `config.scaling_factor`.
    """

    def __init__(self, factor: int = 3) -> None:
        super().__init__()
        if factor < 1:
            raise ConfigError(f"factor is {factor}", fix="use at least 1")
        self.factor = factor
        self.config = SimpleNamespace(factor=factor, scaling_factor=1.0, latent_channels=3 * factor**2, shift_factor=None)

    def encode(self, x: Tensor) -> Any:
        """x [n, 3, H, W] in [-1, 1]."""
        if x.shape[-1] % self.factor or x.shape[-2] % self.factor:
            raise BadImage(f"pictures of {x.shape[-2]} x {x.shape[-1]} pixels", fix=f"both sides must be multiples of {self.factor}")
        latents = F.pixel_unshuffle(x, self.factor)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents, sample=lambda generator=None: latents))

    def decode(self, z: Tensor) -> Any:
        """z [n, 3 * factor**2, H / factor, W / factor]."""
        return SimpleNamespace(sample=F.pixel_shuffle(z, self.factor))


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 [n, H, W, 3] as float [n, 3, H, W] in [-1, 1]; raises `BadImage` and `EmptyData`."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise BadImage(f"pictures are {images.dtype} {list(images.shape)}", fix="give uint8 [n, height, width, 3] in RGB")
    if not len(images):
        raise EmptyData("there is no picture", fix="give at least one")
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(pixels: Tensor) -> np.ndarray:
    """The reverse of `to_tensor`; what is beyond [-1, 1] is cut."""
    whole = ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return whole.permute(0, 2, 3, 1).cpu().numpy()


def read_images(sources: Sequence[str | Path | bytes], size: int, *, least: int = 16) -> np.ndarray:
    """Photos as people have them, files or their bytes: uint8 [n, size, size, 3], the middle square of each, turned as the camera held it.

    Raises `EmptyData`, and what `photos.open_photo` raises.
    """
    made = [np.asarray(resized(open_photo(one, least=least), size)) for one in sources]
    if not made:
        raise EmptyData("there is no picture", fix="give at least one")
    return np.stack(made)
