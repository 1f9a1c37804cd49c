"""What a person hands over: a few pictures of one thing, checked, hashed and encoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sartor.draw.parts.masks import check_masks
from sartor.draw.parts.prior import Prior
from sartor.errors import BadImage, EmptyData


@dataclass(frozen=True, eq=False)
class References:
    """Pictures of one subject, as a method learns from them."""

    images: np.ndarray
    """uint8 [n, H, W, 3]."""
    latents: Tensor
    """float [n, c, h, w]: encoded once, not at every step."""
    masks: Tensor | None
    """float [n, 1, H, W], where the subject is."""
    hashes: tuple[str, ...]
    """Of each picture's pixels: which evidence a state was made of, without keeping it."""

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, prior: Prior, images: np.ndarray, *, masks: np.ndarray | None = None) -> References:
        """Check and encode; raises `EmptyData` and `BadImage`."""
        if not len(images):
            raise EmptyData("adapt needs at least one image, got 0", fix="give three to five pictures of the subject")
        images = _alike(images)
        if images.ndim != 4 or images.shape[1:3] != (prior.size, prior.size):
            what = f"pictures of shape {list(images.shape)}, the prior draws {prior.size} x {prior.size}"
            raise BadImage(what, fix=f"read them with read_images(paths, {prior.size})")
        hashes = tuple(hashlib.blake2b(np.ascontiguousarray(one).data, digest_size=16).hexdigest() for one in images)
        return cls(images, prior.latents(images), None if masks is None else check_masks(masks, images).to(prior.device), hashes)

    def batches(self, rng: np.random.Generator, steps: int, size: int) -> Iterator[Tensor]:
        """Picture numbers int64 [size] for each step: all of them in turn, each round in a new order."""
        rounds = -(-steps * size // len(self))
        order = np.concatenate([rng.permutation(len(self)) for _ in range(rounds)])
        for step in range(steps):
            yield torch.from_numpy(order[step * size : (step + 1) * size])


def _alike(images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """As one array; raises `BadImage` with the number of the first picture that is of another size or kind."""
    each = [np.asarray(one) for one in images]
    for number, one in enumerate(each):
        if one.shape != each[0].shape:
            raise BadImage(f"picture {number} has shape {list(one.shape)}, picture 0 {list(each[0].shape)}", fix="make them one size", image=number)
        if one.dtype != np.uint8:
            values = f" from {one.min():g} to {one.max():g}" if one.size else ""
            raise BadImage(f"picture {number} is {one.dtype}{values}", fix="give uint8, from 0 to 255", image=number)
    return np.stack(each)
