"""Prompts that a personal concept is measured by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sartor.data.world.shapes.words import BACKGROUNDS, COLOURS, FIXED, RELATIONS, SLOTS, TEXTURES, article, phrase


class Prompts(NamedTuple):
    """48 fixed ones."""

    texts: list[str]
    edits: np.ndarray
    """bool [48]: asks for what no reference picture has (a hat, a second object)."""


def concept_prompts(name: str) -> Prompts:
    """What a picture of `name` (such as '<v> critter', or '<v>') is asked for: background, place, both, a hat, a second object beside it.

    Half of them are edits. Nothing else is said, so that nothing else is judged.
    """
    one, colours = f"{article(name.lstrip('<'))} {name}" if not name.startswith("<") else f"a {name}", list(COLOURS)
    plain = [f"{one} on {ground}" for ground in BACKGROUNDS] + [f"{one} at {slot}" for slot in SLOTS]
    plain += [f"{one} at {SLOTS[number % 5]} on {BACKGROUNDS[number % 6]}" for number in range(13)]
    hats = [f"{one} with {article(colour)} {colour} hat" for colour in colours]
    hats += [f"{one} with {article(colours[2 * n])} {colours[2 * n]} hat on {BACKGROUNDS[n]}" for n in range(4)]
    beside = [
        f"{one} {RELATIONS[n % 4]} {phrase(FIXED[n % 6], colours[(3 * n) % 8], TEXTURES[n % 5])}" + (f" on {BACKGROUNDS[n % 6]}" if n >= 6 else "")
        for n in range(12)
    ]
    texts = [*plain, *hats, *beside]
    return Prompts(texts, np.arange(len(texts)) >= len(plain))
