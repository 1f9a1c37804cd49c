"""What a person shows of her things, and how prompts speak of them."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sartor.data.population import Evidence
from sartor.draw.parts.codec import read_images
from sartor.draw.parts.tokens import NAME
from sartor.errors import ConfigError, EmptyData, MissingColumn


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """One thing, as a person shows it."""

    name: str
    """The word it will have in prompts: "<mug>"."""
    class_word: str
    """What it is: "critter", "mug"."""
    images: np.ndarray
    """uint8 [n, H, W, 3], three to five pictures."""
    masks: np.ndarray | None = None
    """bool or float [n, H, W], where it is."""
    captions: Sequence[str] | None = None
    """What each picture shows, with the word in it: "a <mug> on sand". For methods that learn scenes or styles; others say "a <mug>" of each."""
    options: Mapping[str, Any] = field(default_factory=dict)


def listed(shown: Shown | Sequence[Shown]) -> list[Shown]:
    """One thing or several; raises `EmptyData` for none, and `ConfigError` for two with one word."""
    things = [shown] if isinstance(shown, Shown) else list(shown)
    if not things:
        raise EmptyData("nothing is shown", fix="give at least one thing with its pictures")
    if twice := sorted({one.name for one in things if [other.name for other in things].count(one.name) > 1}):
        raise ConfigError(f"two concepts are called {twice[0]}", fix="rename one")
    return things


def shown_by(evidence: Evidence, size: int) -> list[Shown]:
    """The things in a person's `images` frame: pictures of one item are of one thing."""
    if "images" not in evidence.frames:
        raise EmptyData("there are no images among the evidence", fix="give three to five pictures of each thing")
    frame = evidence.frames["images"]
    for column in ("item", "class_word"):
        if column not in frame.columns:
            raise MissingColumn(f"the images say nothing of '{column}'", fix="add it: the word of the thing, and what it is (mug)", column=column)
    found = []
    for (item,), rows in frame.group_by("item", maintain_order=True):
        name = str(item) if NAME.fullmatch(str(item)) else f"<{item}>"
        found.append(Shown(name=name, class_word=str(rows["class_word"][0]), images=read_images(rows["path"].to_list(), size)))
    return found


def spell(prompt: str, classes: Mapping[str, str], taught: Container[str], *, says_class: bool) -> str:
    """The prompt as the text encoder reads it: class words in place of words that nobody has taught, and behind those that want them."""

    def put(match: re.Match[str]) -> str:
        name, noun = match[1], classes[match[1]]
        follows = prompt[match.end() :].lstrip().startswith(noun)
        if name not in taught:
            return "" if follows else noun
        return f"{name} {noun}" if says_class and not follows else name

    return re.sub(r"\s+", " ", re.sub(rf"({NAME.pattern})", put, prompt)).strip()
