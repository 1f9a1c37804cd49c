"""Picture files as people have them: opened with care, turned upright, in RGB."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import BadImage, FileProblem, MissingExtra

LARGEST = 64_000_000
"""Pixels of a picture file; larger ones are refused before they are unpacked."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What is read; Pillow knows others, some of which it hands to other programs."""


def upright(source: str | Path | bytes, *, least: int = 16) -> Any:
    """The picture of a file, or of its bytes: PIL, RGB, turned as the camera held it; what is transparent is white, 16 bits become 8.

    Raises `FileProblem` for what is not there, `BadImage` for what is corrupt, no picture, of floats without a scale, smaller than `least` pixels or
    larger than 64 million.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as missing:
        raise MissingExtra("pillow", "recognize") from missing
    where: dict[str, Any] = {} if isinstance(source, bytes) else {"file": Path(source)}
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileProblem("there is no such file", fix="check the path", **where)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as opened:
            if opened.width * opened.height > LARGEST:
                raise BadImage(f"{opened.width} x {opened.height} pixels", fix="make it smaller than 64 million pixels", **where)
            if min(opened.size) < least:
                raise BadImage(f"{opened.width} x {opened.height} pixels", fix=f"give pictures of at least {least} x {least}", **where)
            if opened.mode == "F":
                raise BadImage("its pixels are floats, whose white nobody knows", fix="save it with 8 bits: PNG or JPEG", **where)
            turned = ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError as cause:
        raise BadImage("it has far too many pixels", fix="make it smaller than 64 million pixels", **where) from cause
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as cause:
        if isinstance(cause, BadImage):
            raise
        raise BadImage("this cannot be read as a picture", fix="give a whole PNG, JPEG or WebP file", **where) from cause
    if turned.mode.startswith("I"):
        # Pillow itself would cut everything above 255.
        turned = Image.fromarray((np.asarray(turned, np.float32) / 257).clip(0, 255).round().astype(np.uint8))
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    seen = turned.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
