"""Where things are: masks for losses and for layers of every size, from the truth, from attention, or from a plan of the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.draw.parts.tap import Layer
from sartor.errors import BadImage, ConfigError


def check_masks(masks: np.ndarray, images: np.ndarray) -> Tensor:
    """float [n, 1, H, W] of masks bool or float [n, H, W]; raises `BadImage` for one without pixels or of another size than its picture."""
    masks = np.asarray(masks)
    if masks.shape != images.shape[:3]:
        raise BadImage(f"masks of shape {list(masks.shape)} for pictures {list(images.shape[:3])}", fix="give one mask per picture, of its size")
    values = masks.astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise BadImage("masks have values outside [0, 1]", fix="give bool, or floats from 0 to 1")
    if (empty := np.flatnonzero(values.max((1, 2)) <= 0)).size:
        raise BadImage(f"mask {empty[0]} selects no pixels", fix="mark the subject, or leave the picture out", image=int(empty[0]))
    return torch.from_numpy(values)[:, None]


def resized(masks: Tensor, height: int, width: int) -> Tensor:
    """float [n, 1, height, width]: the share of each pixel that is inside (area mean)."""
    return F.interpolate(masks.float(), (height, width), mode="area")


def for_layers(masks: Tensor) -> Callable[[Layer, int], Tensor]:
    """Masks [n, 1, H, W] as a `Stream` wants them: (layer, pixels) -> [n, pixels, 1]."""
    aspect = masks.shape[-2] / masks.shape[-1]

    def of(_layer: Layer, pixels: int) -> Tensor:
        height = round((pixels * aspect) ** 0.5)
        if height * (pixels // max(1, height)) != pixels:
            raise ConfigError(f"{pixels} pixels are not of a picture of this shape", fix="give masks of the picture's aspect")
        return resized(masks, height, pixels // height).flatten(2).transpose(1, 2)

    return of


def from_attention(maps: Mapping[str, Tensor], tokens: Tensor, size: int) -> Tensor:
    """Where a word is, by attention alone: soft masks float [B, 1, size, size] in [0, 1].

    maps: layer -> [B, pixels, tokens], as a `Recorder` keeps them. tokens: bool [B, tokens] or [tokens], the places of the word. Layers are
    scaled to one size and averaged, then stretched to [0, 1] for each picture (Hertz et al., Prompt-to-Prompt, 2022).
    """
    if not maps:
        raise ConfigError("no attention was recorded", fix="give a Recorder to the call")
    total: list[Tensor] = []
    for one in maps.values():
        side = round(one.shape[1] ** 0.5)
        chosen = (one * tokens.to(one).expand(one.shape[0], -1)[:, None]).sum(-1)
        total.append(F.interpolate(chosen.reshape(-1, 1, side, side), (size, size), mode="bilinear", align_corners=False))
    mean = torch.stack(total).mean(0)
    low, high = mean.amin((1, 2, 3), keepdim=True), mean.amax((1, 2, 3), keepdim=True)
    return (mean - low) / (high - low).clamp(min=1e-12)


def finest(maps: Mapping[str, Tensor], side: int) -> Tensor:
    """float [B, pixels, tokens]: the mean of the attention of the layers with the most pixels among those of at most side x side.

    Methods that look at attention do so at 16 x 16 of a Stable Diffusion's 64: finer layers are of texture rather than of things.
    """
    if not maps:
        raise ConfigError("no attention was recorded", fix="give a Recorder to the call")
    sizes = {one.shape[1] for one in maps.values()}
    chosen = max([size for size in sizes if size <= side**2], default=min(sizes))
    return torch.stack([one for one in maps.values() if one.shape[1] == chosen]).mean(0)


def threshold(soft: Tensor) -> Tensor:
    """Soft masks as 0 and 1 by Otsu's method (1979): the cut that separates two groups best; float, same shape."""
    out = []
    for one in soft.detach().float():
        values = one.flatten().sort().values
        count = torch.arange(1, values.numel())
        below, above = values.cumsum(0)[:-1], values.sum() - values.cumsum(0)[:-1]
        between = count * (values.numel() - count) * (below / count - above / (values.numel() - count)) ** 2
        out.append((one > values[int(between.argmax())]).float())
    return torch.stack(out)


def layout(boxes: Sequence[tuple[float, float, float, float]], size: int) -> Tensor:
    """Masks float [boxes, 1, size, size] of boxes (left, top, right, bottom) in [0, 1]: where each of several concepts should be."""
    out = torch.zeros(len(boxes), 1, size, size)
    for number, (left, top, right, bottom) in enumerate(boxes):
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ConfigError(f"box {number} is {(left, top, right, bottom)}", fix="give left < right and top < bottom, from 0 to 1")
        rows, columns = (slice(round(a * size), max(round(a * size) + 1, round(b * size))) for a, b in ((top, bottom), (left, right)))
        out[number, 0, rows, columns] = 1
    return out
