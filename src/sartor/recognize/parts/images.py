"""Pictures on their way into a recognizer: checked, as tensors, and varied while it learns."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.errors import BadImage

LEAST = 8
"""Pixels of the shorter side."""


def checked(images: np.ndarray, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """uint8 [n, height, width, channels] from that, or from floats in [0, 1]; grey pictures get three equal colours.

    Parameters
    ----------
    shape: height, width and channels that are wanted; None takes any size.

    Raises `BadImage`, with the picture's number, for another size or mode, for less than 8 pixels, and for values that are no colours.
    """
    images = np.asarray(images)
    if images.ndim == 3 and images.shape[-1] not in (1, 3):
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise BadImage(f"pictures of shape {list(images.shape)}", fix="give [n, height, width, 3] in RGB, or [n, height, width] in grey")
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating):
            raise BadImage(f"pictures of type {images.dtype}", fix="give uint8, or floats from 0 to 1")
        bad = ~np.isfinite(images).all((1, 2, 3)) | (images.min((1, 2, 3), initial=0) < -1e-3) | (images.max((1, 2, 3), initial=1) > 1.001)
        if bad.any():
            raise BadImage("values outside [0, 1]", fix="give uint8, or floats from 0 to 1", image=int(np.flatnonzero(bad)[0]))
        images = np.clip(255 * images + 0.5, 0, 255).astype(np.uint8)
    if min(images.shape[1:3]) < LEAST:
        raise BadImage(f"{images.shape[2]} x {images.shape[1]} pixels", fix=f"give pictures of at least {LEAST} x {LEAST}")
    if images.shape[-1] == 1:
        images = np.repeat(images, 3, -1)
    if shape is not None and tuple(images.shape[1:]) != tuple(shape):
        wanted = f"{shape[1]} x {shape[0]} pixels"
        raise BadImage(f"pictures of {images.shape[2]} x {images.shape[1]} pixels", fix=f"the model was fitted on {wanted}: resize them")
    return images


def tensor(images: np.ndarray) -> Tensor:
    """float32 [n, channels, height, width] around 0, from uint8 [n, height, width, channels]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def varied(x: Tensor, *, flip: bool = True, shift: int = 2, colour: float = 0.15, erase: float = 0.2) -> Tensor:
    """Pictures [n, c, h, w] each mirrored at random, moved by up to `shift` pixels, in other light, and with a random box of noise in a share
    `erase` of them (random erasing, Zhong et al., AAAI 2020). Draws from torch's generator."""
    n, channels, height, width = x.shape
    padded = F.pad(x, (shift,) * 4, mode="replicate")
    corners = torch.randint(0, 2 * shift + 1, (n, 2)).tolist()
    # Copies of slices are several times faster than one gather by index.
    x = torch.stack([one[:, top : top + height, left : left + width] for one, (top, left) in zip(padded, corners, strict=True)])
    if flip:
        mirrored = torch.rand(n) < 0.5
        x[mirrored] = x[mirrored].flip(-1)
    if colour:
        gain = 1 + colour * (2 * torch.rand(n, channels, 1, 1) - 1) + colour * (2 * torch.rand(n, 1, 1, 1) - 1)
        x = (x + 1) * gain - 1 + 0.5 * colour * (2 * torch.rand(n, channels, 1, 1) - 1)
    if erase:
        tall, wide = (size * (0.15 + 0.35 * torch.rand(n)) for size in (height, width))
        top, left = torch.rand(n) * (height - tall), torch.rand(n) * (width - wide)
        boxes = torch.stack([top, top + tall, left, left + wide], 1).round().int().tolist()
        for row in torch.nonzero(torch.rand(n) < erase)[:, 0].tolist():
            above, below, before, after = boxes[row]
            x[row, :, above:below, before:after].uniform_(-1, 1)
    return x
