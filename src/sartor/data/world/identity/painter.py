"""Soft shapes painted over pictures, back to front: what figures, what stands in front of them and backdrops are made of."""

from __future__ import annotations

import math

import numba
import numpy as np

CAPSULE, TRAPEZOID, ELLIPSE, BOX = 0, 1, 2, 3
"""Kinds: a line from (x0, y0) to (x1, y1) whose radius goes from r0 to r1; a figure between the heights y0 and y1 whose half width goes from r0
to r1 around a middle from x0 to x1; an ellipse around (x0, y0) with radii r0 and r1; a box from (x0, y0) to (x1, y1)."""
PLAIN, ACROSS, ALONG, CHECKS = 0, 1, 2, 3
"""Textures in two colours."""
FIELDS = 16
"""Of a shape: kind (below 0: none), x0, y0, r0, x1, y1, r1, two RGB colours, texture, period in pixels, whose (> 0: the figure itself)."""


def shape(
    n: int, kind: int, a: tuple[np.ndarray, np.ndarray], r0: np.ndarray, b: tuple[np.ndarray, np.ndarray], r1: np.ndarray, colour: np.ndarray,
    *, second: np.ndarray | None = None, texture: np.ndarray | int = 0, period: float = 3.0, own: float = 1.0, there: np.ndarray | bool = True,
) -> np.ndarray:  # fmt: skip
    """float32 [n, 16], one shape for each of n pictures; `there` says in which it is painted. Pixels, y downwards."""
    out = np.empty((n, FIELDS), np.float32)
    out[:, 0] = np.where(there, kind, -1)
    for at, part in zip((1, 2, 3, 4, 5, 6), (a[0], a[1], r0, b[0], b[1], r1), strict=True):
        out[:, at] = part
    out[:, 7:10] = colour
    out[:, 10:13] = colour if second is None else second
    out[:, 13], out[:, 14], out[:, 15] = texture, period, own
    return out


def paint(pictures: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint shapes float32 [n, s, 16] over pictures float32 [n, h, w, 3], in place and in order.

    Returns the share of each pixel that the figure covers in the end, and that it would cover if nothing stood in front: float32 [n, h, w] each.
    """
    mask, whole = np.zeros(pictures.shape[:3], np.float32), np.zeros(pictures.shape[:3], np.float32)
    _paint(pictures, mask, whole, shapes)
    return mask, whole


@numba.njit(cache=True, nogil=True)
def _paint(pictures, mask, whole, shapes):  # type: ignore[no-untyped-def]
    height, width = pictures.shape[1], pictures.shape[2]
    for n in range(pictures.shape[0]):
        for s in range(shapes.shape[1]):
            one = shapes[n, s]
            if one[0] < 0:
                continue
            kind = int(one[0])
            x0, y0, r0, x1, y1, r1 = one[1], one[2], one[3], one[4], one[5], one[6]
            reach = max(r0, r1) if kind != BOX else np.float32(0.0)
            if kind == ELLIPSE:
                x1, y1 = x0, y0
            left = max(0, math.floor(min(x0, x1) - reach - 1))
            right = min(width - 1, math.ceil(max(x0, x1) + reach + 1))
            upper = max(0, math.floor(min(y0, y1) - reach - 1))
            lower = min(height - 1, math.ceil(max(y0, y1) + reach + 1))
            along_x, along_y = x1 - x0, y1 - y0
            length = max(along_x * along_x + along_y * along_y, np.float32(1e-6))
            for y in range(upper, lower + 1):
                for x in range(left, right + 1):
                    if kind == CAPSULE:
                        t = ((x - x0) * along_x + (y - y0) * along_y) / length
                        t = min(max(t, 0.0), 1.0)
                        away = math.hypot(x - x0 - t * along_x, y - y0 - t * along_y) - (r0 + t * (r1 - r0))
                    elif kind == TRAPEZOID:
                        t = min(max((y - y0) / max(along_y, 1e-3), 0.0), 1.0)
                        away = max(abs(x - x0 - t * along_x) - (r0 + t * (r1 - r0)), max(y0 - y, y - y1))
                    elif kind == ELLIPSE:
                        away = (math.hypot((x - x0) / r0, (y - y0) / r1) - 1) * min(r0, r1)
                    else:
                        away = max(max(x0 - x, x - x1), max(y0 - y, y - y1))
                    cover = min(max(0.5 - away, 0.0), 1.0)
                    if cover <= 0:
                        continue
                    texture, period = int(one[13]), one[14]
                    odd = False
                    if texture == ACROSS:
                        odd = math.floor((y - y0) / period) % 2 == 1
                    elif texture == ALONG:
                        odd = math.floor((x - x0 + 64) / period) % 2 == 1
                    elif texture == CHECKS:
                        odd = (math.floor((y - y0) / period) + math.floor((x - x0 + 64) / period)) % 2 == 1
                    first = 10 if odd else 7
                    for channel in range(3):
                        pictures[n, y, x, channel] += cover * (one[first + channel] - pictures[n, y, x, channel])
                    if one[15] > 0:
                        mask[n, y, x] += cover * (1 - mask[n, y, x])
                        whole[n, y, x] += cover * (1 - whole[n, y, x])
                    else:
                        mask[n, y, x] *= 1 - cover
