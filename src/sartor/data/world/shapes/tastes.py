"""Which pictures the people of a world prefer, out of the same tastes by which they click, write and choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import polars as pl

from sartor.data.world.draws import address
from sartor.data.world.shapes.reader import Reading
from sartor.data.world.shapes.scenes import Scenes
from sartor.data.world.shapes.sprites import TRAINED
from sartor.data.world.shapes.words import BACKGROUNDS, COLOURS, FIXED, NOUNS, SLOTS, TEXTURES, phrase
from sartor.data.world.shapes.world import ShapesWorld, second_colours
from sartor.data.world.world import World
from sartor.errors import ConfigError

SHARPNESS = 3.0
"""Of the Bradley-Terry choice: P(first) = sigmoid(SHARPNESS * (liking of the first - liking of the second))."""
PARTS = {"colour": len(COLOURS), "texture": len(TEXTURES), "background": len(BACKGROUNDS), "hat": 2, "place": len(SLOTS)}
"""What pictures are liked for, and how many values each has."""
TRIES = 64
"""How often a picture with a held-out pair is drawn again."""
ANEW = 2**12
"""Pictures of a person between one and that drawn in its place."""
LOADING = 0.6
"""How much of a taste in pictures follows from the interests; the rest is the person's own."""


@dataclass(frozen=True, eq=False)
class Choices:
    """What people chose of two pictures for the same prompt, row by row."""

    people: np.ndarray
    """int64 [m]."""
    prompts: list[str]
    chosen: Scenes
    rejected: Scenes
    chance: np.ndarray
    """float64 [m], of choosing as she did: the truth."""

    def frame(self) -> pl.DataFrame:
        """person, prompt, chosen, rejected: the pictures by their full captions."""
        return pl.DataFrame(
            {"person": self.people, "prompt": self.prompts, "chosen": self.chosen.captions(), "rejected": self.rejected.captions()}
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureTastes:
    """The people of a world, looking at pictures: what each likes exactly, and what each chose.

    A liking is a sum over what a picture shows (colours and textures of its objects, background, hats, where they are) and over pairs of
    colour and background that somebody likes together. 60 % of it follows from the interests that the person clicks and writes by: every
    topic leans to colours, textures and backgrounds of its own; the rest is hers alone.

    >>> from sartor.data.world import World
    >>> tastes = PictureTastes(people=World(people=50, items=200, seed=1), shapes=ShapesWorld())
    >>> choices = tastes.choices(range(10), 4)
    >>> len(choices.prompts), choices.chosen.render().shape
    (40, (40, 24, 24, 3))
    """

    people: World
    shapes: ShapesWorld
    sharpness: float = SHARPNESS

    def __post_init__(self) -> None:
        if not self.sharpness > 0:
            raise ConfigError(f"sharpness is {self.sharpness}", fix="use more than 0")

    @cached_property
    def _of_topics(self) -> dict[str, np.ndarray]:
        rng = self.people.draws.generator("pictures:topics")
        topics = len(self.people.topic_table)
        return {name: rng.standard_normal((topics, size)) for name, size in (*PARTS.items(), ("pair", PARTS["colour"] * PARTS["background"]))}

    def weights(self, people: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """How much each value of each part is liked, exactly: float64 [people, values], about standard normal; "pair" is colour x background."""
        tastes = self.people.people_tastes(people)
        interests = tastes.at(1.0)
        interests = interests / np.linalg.norm(interests, axis=1, keepdims=True)
        out = {}
        for name, lean in self._of_topics.items():
            where = address(tastes.people[:, None], np.arange(lean.shape[1]))
            # Box and Muller: two uniform numbers of an address make a normal one.
            radius = np.sqrt(2 * self.people.draws.exponential(f"pictures:{name}:r", where))
            own = radius * np.cos(2 * np.pi * self.people.draws.uniform(f"pictures:{name}:a", where))
            out[name] = np.sqrt(LOADING) * interests @ lean + np.sqrt(1 - LOADING) * own
        return out

    def liking(self, people: Sequence[int] | np.ndarray, pictures: Scenes | Reading) -> np.ndarray:
        """Float64 [people, pictures]: how much each person likes what each picture shows, whether it was rendered or read from a drawn one."""
        seen, weights = _features(pictures), self.weights(people)
        scale = {"colour": 1.0, "background": 1.0, "texture": 0.6, "hat": 0.6, "place": 0.4, "pair": 0.6}
        total = sum(scale[name] * weights[name] @ part.T for name, part in seen.items())
        return np.asarray(total) / np.sqrt(sum(value**2 for value in scale.values()))

    def choices(self, people: Sequence[int] | np.ndarray, each: int, *, start: int = 0) -> Choices:
        """What each of these people chose, `each` times: two pictures that both show what the prompt says and differ in what it leaves open.

        Choices are noisy as `sharpness` says. `start` is the number of the first choice; the same number is the same choice, whoever else chooses.
        Raises `ConfigError` for no choice or nobody.
        """
        wanted = np.asarray(people, np.int64)
        if each < 1 or not wanted.size:
            raise ConfigError(f"{each} choices of {wanted.size} people", fix="ask for at least one of at least one person")
        who, number = np.repeat(wanted, each), start + np.tile(np.arange(each), wanted.size)
        noun = self._draw("noun", address(who, number), len(NOUNS))
        left, right = (self._pictures(noun, who, 2 * number + side) for side in (0, 1))
        for attempt in range(1, TRIES):
            # Between two pictures that are one there is no choice.
            if not (same := np.flatnonzero(_alike(left, right))).size:
                break
            right.set(same, self._pictures(noun[same], who[same], 2 * number[same] + 1 + attempt * ANEW))
        unique, row = np.unique(who, return_inverse=True)
        at = np.arange(who.size)
        gap = self.liking(unique, left)[row, at] - self.liking(unique, right)[row, at]
        chance = 1 / (1 + np.exp(-self.sharpness * gap))
        first = self.people.draws.uniform("pictures:choice", address(who, number)) < chance
        chosen, rejected = right.rows(at), left.rows(at)
        chosen.set(first, left.rows(first))
        rejected.set(first, right.rows(first))
        return Choices(who, [phrase(NOUNS[one]) for one in noun], chosen, rejected, np.where(first, chance, 1 - chance))

    def _draw(self, what: str, where: np.ndarray, size: int) -> np.ndarray:
        """int64, one of `size` numbers for each address."""
        return (self.people.draws.uniform(f"pictures:{what}", where) * size).astype(np.int64)

    def _pictures(self, noun: np.ndarray, who: np.ndarray, number: np.ndarray) -> Scenes:
        """One picture for each person and number: an object of that noun, everything else at random, but no pair of attributes that is held out."""
        made, wrong = Scenes.empty(noun.size), np.arange(noun.size)
        for attempt in range(TRIES):
            where = address(who[wrong], number[wrong] * TRIES + attempt)
            one = Scenes.empty(wrong.size)
            family = noun[wrong] >= len(FIXED)
            one.noun[:, 0], one.background[:] = noun[wrong], self._draw("background", where, len(BACKGROUNDS))
            colour = self._draw("colour", where, len(COLOURS))
            one.colour[:, 0] = colour
            hat = (colour + 1 + self._draw("hat", where, len(COLOURS) - 1)) % len(COLOURS)
            one.hat[:, 0] = np.where(self.people.draws.uniform("pictures:hatted", where) < 0.5, hat, -1)
            one.texture[:, 0] = np.where(family, -1, self._draw("texture", where, len(TEXTURES)))
            one.second[:, 0] = np.where(family, second_colours(colour, self.people.draws.uniform("pictures:second", where)), -1)
            one.identity[:, 0] = np.where(family, self._draw("identity", where, TRAINED), -1)
            one.slot[:, 0], one.offset[:, 0] = self._draw("slot", where, len(SLOTS)), self._draw("offset", where, 2)
            made.set(wrong, one)
            wrong = wrong[~self.shapes.seen(one)]
            if not wrong.size:
                return made
        raise ConfigError("there are no pictures without a held-out pair", fix="hold out fewer pairs")


def _alike(left: Scenes, right: Scenes) -> np.ndarray:
    """bool [n]: the two pictures show the same."""
    parts = [(getattr(left, one.name), getattr(right, one.name)) for one in fields(left) if one.name != "subjects"]
    same: np.ndarray = np.logical_and.reduce([(a == b).reshape(len(left), -1).all(1) for a, b in parts])
    return same


def _features(pictures: Scenes | Reading) -> dict[str, np.ndarray]:
    """Shares of each value in each picture: float64 [n, values]; all zero where a picture shows nothing that could have one."""
    n, there = len(pictures), pictures.noun >= 0
    background = np.eye(PARTS["background"])[pictures.background]
    out = {"background": background}
    for name in ("colour", "texture"):
        value = np.where(there, getattr(pictures, name), -1)
        counts = np.stack([(value == number).sum(1) for number in range(PARTS[name])], 1)
        out[name] = counts / counts.sum(1, keepdims=True).clip(min=1)
    hats = ((pictures.hat >= 0) & there).sum(1) / there.sum(1).clip(min=1)
    out["hat"] = np.stack([1 - hats, hats], 1)
    # A scene names its objects' slots; a reading has one place for each slot.
    slots = np.where(there, pictures.slot if isinstance(pictures, Scenes) else np.arange(len(SLOTS)), -1)
    places = np.stack([(slots == number).sum(1) for number in range(len(SLOTS))], 1)
    out["place"] = places / places.sum(1, keepdims=True).clip(min=1)
    out["pair"] = (out["colour"][:, :, None] * background[:, None, :]).reshape(n, -1)
    return out
