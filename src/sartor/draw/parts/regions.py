"""Where in a picture each of several things may be: a learned word is looked at inside its region only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sartor.draw.parts.masks import layout, resized
from sartor.draw.parts.tap import Change, Layer
from sartor.errors import BadImage, ConfigError

SIDES = {
    "left": (0.0, 0.0, 0.5, 1.0), "right": (0.5, 0.0, 1.0, 1.0), "top": (0.0, 0.0, 1.0, 0.5), "bottom": (0.0, 0.5, 1.0, 1.0),
    "top-left": (0.0, 0.0, 0.5, 0.5), "top-right": (0.5, 0.0, 1.0, 0.5), "bottom-left": (0.0, 0.5, 0.5, 1.0), "bottom-right": (0.5, 0.5, 1.0, 1.0),
    "center": (0.25, 0.25, 0.75, 0.75),
}  # fmt: skip
"""Names of boxes."""
FINE = 64
"""Pixels a side of a mask that is made of a box."""
Region = str | Sequence[float] | np.ndarray
"""A name of `SIDES`; a box (left, top, right, bottom) in shares of the picture, also as text "0,0,0.5,1"; or a mask, bool or float [H, W]."""


def region(given: Region) -> Tensor:
    """Its mask, float [1, 1, S, S] in [0, 1]; raises `ConfigError` for what is no region, `BadImage` for a mask without pixels or not square."""
    if isinstance(given, np.ndarray) and given.ndim == 2:
        values = given.astype(np.float32)
        if values.shape[0] != values.shape[1] or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise BadImage(f"a mask of {list(values.shape)}", fix="give a square one, bool, or floats from 0 to 1")
        if values.max() <= 0:
            raise BadImage("the mask selects no pixels", fix="mark where the thing should be")
        return torch.from_numpy(values)[None, None]
    if isinstance(given, str) and given in SIDES:
        given = SIDES[given]
    try:
        left, top, right, bottom = (float(one) for one in (given.split(",") if isinstance(given, str) else given))
    except (ValueError, TypeError) as cause:
        raise ConfigError(f"'{given}' is no region", fix=f"use {', '.join(SIDES)}, or a box: 0,0,0.5,1") from cause
    return layout([(left, top, right, bottom)], FINE)


def kept_inside(places: Mapping[str, Tensor], masks: Mapping[str, Tensor], then: Change | None = None) -> Callable[[Layer, Tensor], Tensor]:
    """For `Slots.change`: no pixel outside of a word's region looks at it; what is left of a pixel's attention is scaled to 1.

    Source: cross-attention control by regions, as in Balaji et al., eDiff-I (paint with words), 2022, here with regions as bounds. Words behind a
    learned word have heard of it from the text encoder, so that a thing may still show faintly elsewhere.

    Parameters
    ----------
    places: word -> bool [n, T], its tokens, and those of its class word where that stands behind it.
    masks: word -> float [1, 1, S, S].
    then: what else changes attention, done first.
    """

    def change(layer: Layer, maps: Tensor) -> Tensor:
        maps = maps if then is None else then(layer, maps)
        if not layer.cross:
            return maps
        side = round(maps.shape[2] ** 0.5)
        kept = torch.ones(maps.shape[0], 1, maps.shape[2], maps.shape[3], dtype=maps.dtype, device=maps.device)
        for name, mask in masks.items():
            inside = resized(mask, side, side).flatten(2).transpose(1, 2)[:, None].to(maps)
            here = places[name].to(maps)[:, None, None]
            kept = kept * (1 - F.pad(here, (0, maps.shape[3] - here.shape[3])) * (1 - inside))
        maps = maps * kept
        return maps / maps.sum(-1, keepdim=True).clamp(min=1e-12)

    return change


def said_at(ids: Tensor, places: Tensor, class_ids: Sequence[int]) -> Tensor:
    """bool [n, T]: where a learned word stands, from its places int64 [n, T] (-1 elsewhere), and its class word right behind it."""
    here = places >= 0
    out = here.clone()
    for row in range(len(ids)):
        for start in (here[row] & ~torch.cat([here[row, 1:], here.new_zeros(1)])).nonzero()[:, 0].tolist():
            if ids[row, start + 1 : start + 1 + len(class_ids)].tolist() == list(class_ids):
                out[row, start + 1 : start + 1 + len(class_ids)] = True
    return out


def checked(given: Mapping[str, Any], known: Sequence[str]) -> dict[str, Tensor]:
    """Word -> mask; raises `ConfigError` for words that are none of the known, and what `region` raises."""
    if strange := sorted({*given} - {*known}):
        raise ConfigError(f"there is a region for {strange[0]}, which is not a concept here", fix=f"there are {', '.join(known) or 'none'}")
    return {name: region(one) for name, one in given.items()}
