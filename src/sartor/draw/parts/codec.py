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

from sartor.errors import BadImage, ConfigError, EmptyData, FileProblem

LARGEST = 64_000_000
"""Pixels of a picture file; larger ones are refused before they are unpacked."""


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


def read_images(paths: Sequence[str | Path], size: int, *, least: int = 16) -> np.ndarray:
    """Photos as people have them: uint8 [n, size, size, 3], the middle square of each, turned as the camera held it.

    Raises `FileProblem` for what is not there, `BadImage` for what is corrupt, no picture, smaller than `least` pixels or larger than 64 million.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    made = []
    for path in map(Path, paths):
        if not path.is_file():
            raise FileProblem("there is no such file", fix="check the path", file=path)
        try:
            with Image.open(path) as opened:
                if opened.width * opened.height > LARGEST:
                    raise BadImage(f"{opened.width} x {opened.height} pixels", fix="make it smaller than 64 million pixels", file=path)
                if min(opened.size) < least:
                    raise BadImage(f"{opened.width} x {opened.height} pixels", fix=f"give pictures of at least {least} x {least}", file=path)
                turned = ImageOps.exif_transpose(opened).convert("RGB")
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
            if isinstance(cause, BadImage):
                raise
            raise BadImage("this cannot be read as a picture", fix="give a whole PNG, JPEG or WebP file", file=path) from cause
        side = min(turned.size)
        left, top = (turned.width - side) // 2, (turned.height - side) // 2
        method = Image.Resampling.LANCZOS if side > size else Image.Resampling.NEAREST
        made.append(np.asarray(turned.crop((left, top, left + side, top + side)).resize((size, size), method)))
    if not made:
        raise EmptyData("there is no picture", fix="give at least one")
    return np.stack(made)
