"""Pictures of other people's things, each shown several times: what methods learn from that need no training for a new thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sartor.draw.parts.codec import read_images
from sartor.draw.parts.tokens import NAME
from sartor.errors import BadPrompt, BadValue, EmptyData, MissingColumn

MOST = 2
"""Things in one picture."""


@dataclass(frozen=True, eq=False)
class OthersThings:
    """Pictures with captions, and which things each shows."""

    images: np.ndarray
    """uint8 [n, H, W, 3]."""
    captions: Sequence[str]
    """With class words in the places of things."""
    things: np.ndarray
    """int64 [n, MOST]: numbers of the things in a picture, in the order in which its caption names them; -1 where there is none."""
    classes: Sequence[str]
    """Of each thing, what it is."""

    @property
    def alone(self) -> Mapping[int, np.ndarray]:
        """Thing -> int64, the pictures of it alone."""
        single = np.flatnonzero((self.things[:, 0] >= 0) & (self.things[:, 1] < 0))
        return {int(one): single[self.things[single, 0] == one] for one in np.unique(self.things[single, 0])}

    def other_picture(self, rng: np.random.Generator, thing: int, row: int, alone: Mapping[int, np.ndarray]) -> int:
        """A picture of the thing alone that is not `row`; `row` itself where there is no other."""
        found = alone[thing][alone[thing] != row]
        return int(rng.choice(found)) if found.size else row


def others_things(images: pl.DataFrame, size: int) -> OthersThings:
    """From a frame with the columns image, path, item, class_word and caption; a picture of two things has a row for each, one of none of anybody's
    things (with a caption) a row without item.

    Captions name things by their brackets, "a <mug> left of a <bowl>", and without a caption a picture is "a <mug>". Raises `MissingColumn`,
    `EmptyData`, `BadPrompt` for a caption that does not name its things, and `BadValue` for a thing that no picture shows alone.
    """
    for column in ("item", "class_word"):
        if column not in images.columns:
            raise MissingColumn(f"the images say nothing of '{column}'", fix="add it: the word of the thing, and what it is (mug)", column=column)
    if images.is_empty():
        raise EmptyData("there are no images of others' things", fix="give several pictures of each of many things")
    names = [one if one is None or NAME.fullmatch(one) else f"<{one}>" for one in images["item"].cast(pl.String).to_list()]
    kinds = {name: kind for name, kind in zip(names, images["class_word"].to_list(), strict=True) if name is not None}
    numbers = {name: number for number, name in enumerate(kinds)}
    said = images["caption"].to_list() if "caption" in images.columns else [None] * len(images)
    pictures: dict[str, tuple[str, list[str], str]] = {}
    for image, path, name, caption in zip(images["image"].cast(pl.String).to_list(), images["path"].to_list(), names, said, strict=True):
        kept = pictures.setdefault(image, (path, [], caption or f"a {name}"))
        if name is not None:
            kept[1].append(name)
    things = np.full((len(pictures), MOST), -1, np.int64)
    captions = []
    for row, (image, (_, inside, caption)) in enumerate(pictures.items()):
        order = NAME.findall(caption)
        if sorted(order) != sorted(inside) or len(order) > MOST:
            raise BadPrompt(
                f"'{caption}' of {image} names {', '.join(order) or 'nothing'}, not {', '.join(inside)}", fix=f"name each once, {MOST} at most"
            )
        things[row, : len(order)] = [numbers[name] for name in order]
        captions.append(NAME.sub(lambda match: kinds[match[0]], caption))
    if not numbers:
        raise EmptyData("no image is of anybody's thing", fix="say of what it is in the column item")
    found = OthersThings(read_images([one[0] for one in pictures.values()], size), captions, things, [*kinds.values()])
    if missing := sorted({*numbers.values()} - {*found.alone}):
        raise BadValue(f"no picture shows {[*kinds][missing[0]]} alone", fix="add one of each thing by itself")
    return found
