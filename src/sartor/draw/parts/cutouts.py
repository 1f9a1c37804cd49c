"""Things cut out of their pictures: where they are, as far as the border of a picture tells, and each alone on grey."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from sartor.draw.parts.prior import Prior
from sartor.errors import BadImage, FileProblem

GREY = 128
CLIP_MEAN, CLIP_SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was trained on, by which it wants pictures scaled."""
LOOKED_AT = 96
"""Pixels a side at which a border is compared with what it surrounds."""


def foreground(images: np.ndarray, *, tolerance: float = 0.06) -> np.ndarray:
    """bool [n, H, W]: what is unlike the border of its picture, the largest piece of it; nothing where all is alike.

    A colour belongs to the background when it stands at three of the four borders, up to `tolerance` (root mean squared, of values in [0, 1]). It is
    for pictures of one thing before something plain or patterned; for others, give masks.
    """
    images = np.asarray(images)
    return np.stack([_one(image, tolerance) for image in images]) if len(images) else np.zeros(images.shape[:3], bool)


def _one(image: np.ndarray, tolerance: float) -> np.ndarray:
    step = -(-max(image.shape[:2]) // LOOKED_AT)
    small = image[::step, ::step].astype(np.float32) / 255
    wide = max(2, len(small) // 24)
    sides = [part.reshape(-1, 3) for part in (small[:wide], small[-wide:], small[:, :wide], small[:, -wide:])]
    flat = small.reshape(-1, 3)
    near = sum((((flat[:, None] - np.unique(side, axis=0)) ** 2).mean(-1).min(1) < tolerance**2).astype(int) for side in sides)
    unlike = (near < 3).reshape(small.shape[:2])
    pieces, count = ndimage.label(ndimage.binary_dilation(unlike, np.ones((3, 3))))
    if not count:
        return np.zeros(image.shape[:2], bool)
    largest = 1 + int(np.argmax(ndimage.sum_labels(unlike, pieces, np.arange(1, count + 1))))
    found = unlike & (pieces == largest)
    whole: np.ndarray = np.kron(found, np.ones((step, step), bool))[: image.shape[0], : image.shape[1]]
    return whole


def alone(image: np.ndarray, mask: np.ndarray, side: int, *, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [h, w, 3] and bool [h, w]: the box of a thing and where it is in it, at its own size where that is at most `side`, else shrunk to it.

    Raises `BadImage`, with the picture's number, where nothing is marked.
    """
    from PIL import Image

    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        what = f"picture {number} has no foreground: {mask.mean():.0%} of it is unlike its border"
        raise BadImage(what, fix="give a mask, or a picture of the thing alone", image=number)
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    pixels, there = np.where(mask[box][..., None], image[box], GREY).astype(np.uint8), mask[box]
    longest = max(there.shape)
    if longest > side:
        size = (max(1, round(there.shape[1] * side / longest)), max(1, round(there.shape[0] * side / longest)))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        there = np.asarray(Image.fromarray(there).resize(size, Image.Resampling.NEAREST))
    return pixels, there


def cut(images: np.ndarray, masks: np.ndarray, side: int) -> np.ndarray:
    """uint8 [n, side, side, 3]: each thing in the middle, on grey; raises as `alone` does."""
    out = np.full((len(images), side, side, 3), GREY, np.uint8)
    for number, (image, mask) in enumerate(zip(images, np.asarray(masks) > 0.5, strict=True)):
        pixels, there = alone(image, mask, side, number=number)
        top, left = ((side - part) // 2 for part in there.shape)
        out[number, top : top + there.shape[0], left : left + there.shape[1]] = pixels
    return out


def cutouts(prior: Prior, images: np.ndarray, masks: np.ndarray | None, cells: int) -> np.ndarray:
    """uint8 [n, s, s, 3] of things, with s as large as `cells` latent pixels; without masks by `foreground`."""
    return cut(images, foreground(images) if masks is None else masks, cells * prior.scale)


def looks(prior: Prior, cut_out: np.ndarray) -> Tensor:
    """float [n, channels * cells * cells]: the latents of things that are cut out, which is all there is of them."""
    return prior.latents(cut_out).flatten(1).float()


def clip_looks(folder: str, images: np.ndarray) -> Tensor:
    """float [n, d]: the embedding of pictures by a `CLIPVisionModelWithProjection` of transformers, kept open by folder.

    Raises `FileProblem` when there is none.
    """
    vision = _vision(folder)
    with torch.no_grad():
        return vision(clip_pixels(images, int(vision.config.image_size)).to(vision.dtype)).image_embeds.float()


def clip_pixels(images: np.ndarray, side: int) -> Tensor:
    """float [n, 3, side, side] of uint8 [n, H, W, 3], scaled as CLIP wants them."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_SPREAD))
    return (pixels - mean) / spread


@lru_cache(maxsize=2)
def _vision(folder: str) -> Any:
    from transformers import CLIPVisionModelWithProjection

    if not (Path(folder) / "config.json").is_file():
        raise FileProblem("there is no image encoder", fix="give the folder of a CLIPVisionModelWithProjection", file=Path(folder))
    return CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True).eval().requires_grad_(False)
