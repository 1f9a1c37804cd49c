"""What the checks of methods that need no training for a new thing share: others' things to learn from, and subjects that none of them is."""

from __future__ import annotations

import numpy as np

from sartor.data.world.shapes import FAMILIES, ShapesWorld, Subject
from sartor.data.world.shapes.others import others, population
from sartor.draw._shown import Shown

__all__ = ["noisy", "others", "pairs_of", "population"]


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
