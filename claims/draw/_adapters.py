"""What the checks of methods that need no training for a new thing share: others' things to learn from, and subjects that none of them is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from sartor.data.population import Population
from sartor.data.world.shapes import FAMILIES, ShapesWorld, Subject
from sartor.data.world.shapes.scenes import Scenes
from sartor.data.world.shapes.sprites import individuals
from sartor.draw._shown import Shown


def others(count: int) -> list[Subject]:
    """Training individuals, of each family in turn, in colours between the words; held-out ones have other numbers."""
    kinds = [individuals(kind, -(-count // len(FAMILIES)), seed=0, start=0) for kind in FAMILIES]
    return [kinds[number % len(FAMILIES)][number // len(FAMILIES)] for number in range(count)]


def population(
    world: ShapesWorld, folder: Path, *, things: int = 300, each: int = 4, pairs: int = 0, plain: int = 0, seed: int = 0
) -> Population:  # fmt: skip
    """`each` pictures of every thing alone, `pairs` of two things of different families, `plain` of anything else, as files with captions."""
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


def noisy(world: ShapesWorld, subject: Subject, name: str, count: int, *, seed: int, noise: float = 0.0) -> Shown:
    """What a person hands over of a subject, taken by a camera with noise; exact masks."""
    scenes = world.references(subject, count, seed=seed)
    pictures = scenes.render(noise=noise, rng=np.random.default_rng([seed, count]))
    return Shown(name=name, class_word=subject.noun, images=pictures, masks=scenes.masks())


def pairs_of(world: ShapesWorld, seed: int, count: int) -> list[tuple[Subject, Subject]]:
    """Held-out subjects of two different families, no individual at two seeds."""
    made = {kind: world.subjects(count, noun=kind, start=count * seed) for kind in FAMILIES}
    kinds = [(FAMILIES[n % 3], FAMILIES[(n + 1) % 3]) for n in range(count)]
    return [(made[a][n], made[b][n]) for n, (a, b) in enumerate(kinds)]
