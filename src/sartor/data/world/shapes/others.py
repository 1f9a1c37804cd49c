"""What other people showed of their things: training individuals in pictures with captions, for methods that learn from others once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from sartor.data.population import Population
from sartor.data.world.shapes.scenes import Scenes
from sartor.data.world.shapes.sprites import Subject, individuals
from sartor.data.world.shapes.words import FAMILIES
from sartor.data.world.shapes.world import ShapesWorld


def others(count: int) -> list[Subject]:
    """Training individuals, of each family in turn, in colours between the words; held-out ones have other numbers."""
    kinds = [individuals(kind, -(-count // len(FAMILIES)), seed=0, start=0) for kind in FAMILIES]
    return [kinds[number % len(FAMILIES)][number // len(FAMILIES)] for number in range(count)]


def population(
    world: ShapesWorld, folder: Path, *, things: int = 300, each: int = 4, pairs: int = 0, plain: int = 0, seed: int = 0
) -> Population:  # fmt: skip
    """`each` pictures of every thing alone, `pairs` of two things of different families, `plain` of anything else, as files with captions.

    Parameters
    ----------
    folder: there already; gets the pictures as PNG.
    seed: of places, backgrounds and pairs.
    """
    known, rng = others(things), np.random.default_rng(seed)
    frame: dict[str, list[str | None]] = {name: [] for name in ("image", "path", "item", "class_word", "caption")}

    def add(scenes: Scenes, inside: Sequence[Subject]) -> None:
        captions = scenes.captions(names=[f"<{one.name}>" for one in inside])
        for picture, caption in zip(scenes.render(), captions, strict=True):
            image = str(len(frame["image"]))
            path = folder / f"{image}.png"
            Image.fromarray(picture).save(path, compress_level=0)
            named: list[tuple[str | None, str | None]] = [(one.name, one.noun) for one in inside]
            for name, noun in named or [(None, None)]:
                for column, value in zip(frame, (image, str(path), name, noun, caption), strict=True):
                    frame[column].append(value)

    for one in known:
        add(world.references(one, each, seed=seed), [one])
    for _ in range(pairs):
        a, b = rng.choice(things, 2, replace=False)
        while known[a].noun == known[b].noun:
            a, b = rng.choice(things, 2, replace=False)
        add(world.together([known[a], known[b]], 1, seed=int(rng.integers(1 << 30))), [known[a], known[b]])
    if plain:
        add(world.scenes(rng, plain), [])
    return Population.from_frames(images=pl.DataFrame(frame, schema=dict.fromkeys(frame, pl.String)))
