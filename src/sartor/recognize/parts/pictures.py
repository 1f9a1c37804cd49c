"""Pictures of a population's or of one person's `images` frame, as arrays of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sartor.errors import BadImage, EmptyData, MissingColumn
from sartor.parts.photos import upright
from sartor.recognize.parts.images import LEAST


def read_pictures(sources: list[str | Path | bytes], size: tuple[int, int]) -> np.ndarray:
    """uint8 [n, height, width, 3]: files, or their bytes, brought to a size; the middle part of that shape is kept.

    Raises `FileProblem`, and `BadImage` with the number of the picture.
    """
    from PIL import Image

    height, width = size
    out = np.empty((len(sources), height, width, 3), np.uint8)
    for row, source in enumerate(sources):
        try:
            picture = upright(source, least=LEAST)
        except BadImage as problem:
            raise BadImage(problem.what, fix=problem.fix, image=row, **problem.where) from problem.__cause__
        # Cut to the wanted shape, not squeezed: proportions tell people apart.
        wide = min(picture.width, round(picture.height * width / height))
        tall = min(picture.height, round(picture.width * height / width))
        left, top = (picture.width - wide) // 2, (picture.height - tall) // 2
        out[row] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + tall)))
    return out


def pictures_of(frame: pl.LazyFrame | pl.DataFrame, folder: Path | None, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and who is on each, of a frame with the columns `path` and `person`; raises `MissingColumn`, `EmptyData`, `BadImage`."""
    table = frame.lazy().collect()
    if "person" not in table.columns:
        raise MissingColumn("the pictures do not say who is on them", fix="give images a column person", column="person")
    table = table.filter(pl.col("person").is_not_null())
    if not table.height:
        raise EmptyData("there are no pictures of anybody", fix="give images with path and person")
    paths = [(folder or Path()) / one for one in table["path"].to_list()]
    return read_pictures(list(paths), size), table["person"].to_numpy()
