"""Photos as people have them: opened with care, turned upright, cut to the middle square, kept without what the camera wrote beside the picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sartor.parts.photos import upright

KEPT_SIDE, KEPT_BYTES = 768, 700_000
"""Pixels and bytes of a picture that is kept."""
QUALITIES = (95, 90, 80, 60)
"""Of JPEG, tried in turn for pictures that are larger without loss."""


def open_photo(source: str | Path | bytes, *, least: int = 16) -> Any:
    """The picture of a file, or of its bytes: PIL, RGB, the middle square, turned as the camera held it.

    Raises `FileProblem` for what is not there, `BadImage` for what is corrupt, no picture, smaller than `least` pixels or larger than 64 million.
    """
    turned = upright(source, least=least)
    side = min(turned.size)
    left, top = (turned.width - side) // 2, (turned.height - side) // 2
    return turned.crop((left, top, left + side, top + side))


def resized(square: Any, size: int) -> Any:
    """A square picture at another size: smoothed where it shrinks, in whole blocks where it grows."""
    from PIL import Image

    method = Image.Resampling.LANCZOS if square.width > size else Image.Resampling.NEAREST
    return square.resize((size, size), method)


def kept_form(source: str | Path | bytes) -> bytes:
    """A photo as it is kept: what methods see of it and no more, at most 768 pixels and 700 kB, without place, time and camera.

    PNG where that fits, else JPEG. Raises as `open_photo` does.
    """
    square = open_photo(source)
    if square.width > KEPT_SIDE:
        square = resized(square, KEPT_SIDE)
    data = _written(square, "PNG")
    for quality in QUALITIES:
        if len(data) <= KEPT_BYTES:
            break
        data = _written(square, "JPEG", quality=quality)
    return data


def _written(picture: Any, form: str, **settings: Any) -> bytes:
    # A fresh picture has pixels and nothing else.
    from PIL import Image

    bare = Image.frombytes("RGB", picture.size, picture.tobytes())
    out = io.BytesIO()
    bare.save(out, form, **settings)
    return out.getvalue()
