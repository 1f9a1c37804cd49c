"""The shapes world: a closed world of small pictures whose every caption has an exact meaning."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sartor.data.world.shapes.scenes import SIDES, Scenes
from sartor.data.world.shapes.sprites import PATTERNS, SIDE, TRAINED, Subject, apart, fixed_roles, individuals, palette
from sartor.data.world.shapes.words import BACKGROUNDS, COLOURS, FAMILIES, FIXED, MOST, NOUNS, RELATIONS, TEXTURES
from sartor.errors import ConfigError

NOUN_SHARES = np.array([0.1] * 6 + [0.2, 0.1, 0.1])
"""Of training objects: the families are met often, so that a prior knows the class, never the individual."""
LAYOUT_SHARES = (0.55, 0.30, 0.15)
"""One object, two in a relation, two to four equal ones."""
HATS = 0.3
"""Share of objects with a hat."""
_COLOURS = np.array(list(COLOURS.values()))
_OTHERS = [np.flatnonzero(apart(np.broadcast_to(one, _COLOURS.shape), _COLOURS)) for one in _COLOURS]
_OTHERS_EACH = np.array([others.size for others in _OTHERS])
_OTHERS_TABLE = np.array([np.resize(others, len(COLOURS)) for others in _OTHERS])


def second_colours(first: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The other colour of an individual, one that can be told apart from its first: numbers in `COLOURS`, from uniform numbers of the same shape."""
    return _OTHERS_TABLE[first, (uniform * _OTHERS_EACH[first]).astype(np.int64)]


@dataclass(frozen=True, kw_only=True)
class ShapesWorld:
    """Backgrounds, shapes, families of individuals, hats, places and relations, with the words for them.

    24 x 24 pixels. What a picture shows is known exactly (`Scenes`), and what a drawn picture shows is read exactly (`reader.read`): by
    comparing it with everything that could be there, without learning.

    >>> world = ShapesWorld(seed=1)
    >>> scenes = world.scenes(np.random.default_rng(0), 2)
    >>> scenes.captions()[1]
    'two cyan critters on sea'
    >>> scenes.render().shape
    (2, 24, 24, 3)

    Source: own, after the closed worlds of CLEVR (Johnson et al. 2017) and dSprites (Matthey et al. 2017).
    """

    seed: int = 0
    """Of what is held out: the pairs of attributes and the individuals."""
    held_out_pairs: float = 0.2
    """Share of the pairs (noun, colour), (noun, background) and (colour, texture) that no training picture has."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out_pairs <= 0.5:
            raise ConfigError(f"held_out_pairs is {self.held_out_pairs}", fix="give a share from 0 to 0.5")

    @cached_property
    def unseen(self) -> dict[str, np.ndarray]:
        """bool tables of the pairs that training never has: "noun colour" [9, 8], "noun background" [9, 6], "colour texture" [8, 5]."""
        rng = np.random.default_rng([self.seed, 6])
        sizes = {"noun": len(NOUNS), "colour": len(COLOURS), "background": len(BACKGROUNDS), "texture": len(TEXTURES)}
        tables = {}
        for pair in ("noun colour", "noun background", "colour texture"):
            rows, columns = (sizes[name] for name in pair.split())
            # The same number in every row and about the same in every column: nothing is missing altogether.
            each = round(self.held_out_pairs * columns)
            turn = (np.arange(rows)[:, None] * each + np.arange(each)) % columns
            table = np.zeros((rows, columns), bool)
            np.put_along_axis(table, rng.permutation(columns)[turn], True, 1)
            tables[pair] = table[rng.permutation(rows)]
        return tables

    def seen(self, scenes: Scenes) -> np.ndarray:
        """bool [n]: no object of the picture is one of the pairs that are held out."""
        there = scenes.noun >= 0
        noun, colour, texture = (part.clip(min=0) for part in (scenes.noun, scenes.colour, scenes.texture))
        bad = self.unseen["noun colour"][noun, colour] & (scenes.colour >= 0)
        bad |= self.unseen["noun background"][noun, scenes.background[:, None]]
        bad |= self.unseen["colour texture"][colour, texture] & (scenes.texture >= 0) & (scenes.colour >= 0)
        return ~(bad & there).any(1)

    def scenes(self, rng: np.random.Generator, n: int, *, unseen: bool = False) -> Scenes:
        """n scenes as training has them; with `unseen`, scenes that have at least one pair of attributes that training never has."""
        made = self._draw(rng, n)
        wrong = np.flatnonzero(self.seen(made) == unseen)
        for _ in range(10_000):
            if not wrong.size:
                return made
            layout, noun = made.relation[wrong], made.noun[wrong]
            again = self._draw(rng, wrong.size, noun=noun, relation=layout)
            made.set(wrong, again)
            wrong = wrong[self.seen(again) == unseen]
        raise ConfigError(f"there are no scenes with held_out_pairs {self.held_out_pairs}", fix="hold out fewer pairs, or some")

    def batch(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, list[str]]:
        """A training batch: pictures uint8 [n, 24, 24, 3] and captions with words left out."""
        made = self.scenes(rng, n)
        return made.render(), made.captions(dropped=rng)

    def _draw(self, rng: np.random.Generator, n: int, *, noun: np.ndarray | None = None, relation: np.ndarray | None = None) -> Scenes:
        """Scenes with anything in them; with `noun` and `relation`, all but what objects there are is drawn anew."""
        made = Scenes.empty(n)
        made.background[:] = rng.integers(len(BACKGROUNDS), size=n)
        if noun is None or relation is None:
            layout = rng.choice(3, n, p=LAYOUT_SHARES)
            made.relation[:] = np.where(layout == 1, rng.integers(len(RELATIONS), size=n), -1)
            count = np.where(layout == 2, rng.integers(2, MOST + 1, n), layout + 1)
            drawn = rng.choice(len(NOUNS), (n, MOST), p=NOUN_SHARES / NOUN_SHARES.sum())
            drawn[layout == 2] = drawn[layout == 2, :1]
            made.noun[:] = np.where(np.arange(MOST) < count[:, None], drawn, -1)
        else:
            made.noun[:], made.relation[:] = noun, relation
        there, count, related = made.noun >= 0, made.count, made.relation >= 0
        shape = made.noun.shape
        colour = rng.integers(len(COLOURS), size=shape)
        second = second_colours(colour, rng.random(shape))
        hat = (colour + rng.integers(1, len(COLOURS), shape)) % len(COLOURS)
        hat = np.where(rng.random(shape) < HATS, hat, -1)
        texture, identity = rng.integers(len(TEXTURES), size=shape), rng.integers(TRAINED, size=shape)
        equal = (count > 1) & ~related
        for part in (colour, second, hat, texture, identity):
            part[equal] = part[equal, :1]
        family = made.noun >= len(FIXED)
        for own, drawn_, where in (
            (made.colour, colour, there), (made.second, second, there & family), (made.hat, hat, there),
            (made.texture, texture, there & ~family), (made.identity, identity, there & family),
        ):  # fmt: skip
            own[:] = np.where(where, drawn_, -1)
        made.offset[:] = np.where(there, rng.integers(2, size=shape), 0)
        made.slot[:] = np.where(there, self._places(rng, made), -1)
        return made

    @staticmethod
    def _places(rng: np.random.Generator, scenes: Scenes) -> np.ndarray:
        corners = np.argsort(rng.random((len(scenes), 4)), 1)
        single = rng.integers(5, size=len(scenes))
        corners[:, 0] = np.where(scenes.count == 1, single, corners[:, 0])
        pairs, either = np.array([SIDES[number] for number in range(len(RELATIONS))]), rng.integers(2, size=len(scenes))
        related = scenes.relation >= 0
        corners[related, :2] = pairs[scenes.relation[related], either[related]]
        return corners

    # --- what training never has

    def subjects(self, count: int, *, noun: str | None = None, start: int = 0) -> list[Subject]:
        """Held-out individuals: patterns that no training picture has, colours that no word names. Families in turn, or one of them."""
        if noun is not None and noun not in FAMILIES:
            raise ConfigError(f"'{noun}' has no individuals", fix=f"use one of {', '.join(FAMILIES)}")
        kinds = [noun] if noun else list(FAMILIES)
        each = -(-(start + count) // len(kinds))
        made = [individuals(kind, each, seed=self.seed) for kind in kinds]
        return [made[number % len(kinds)][number // len(kinds)] for number in range(start, start + count)]

    def textured(self, count: int, *, noun: str = "square", start: int = 0) -> list[Subject]:
        """Fixed shapes in held-out textures: random mirrored 9 x 9 patterns of a colour between the words and its shade."""
        if noun not in FIXED:
            raise ConfigError(f"'{noun}' has no texture", fix=f"use one of {', '.join(FIXED)}")
        made = []
        for number in range(start, start + count):
            rng = np.random.default_rng([self.seed, 7, number])
            half = rng.random((SIDE, 5)) < 0.5
            pattern = np.concatenate([half, half[:, 3::-1]], 1)
            if any((pattern == known).mean() > 0.9 for known in PATTERNS):
                pattern = ~pattern
            first = rng.uniform(0.4, 0.95, (1, 3))
            kind = np.array([NOUNS.index(noun)])
            made.append(Subject(f"texture-{number}", noun, fixed_roles(kind, pattern[None])[0], palette(kind, first, first)[0]))
        return made

    def references(self, subject: Subject, count: int = 5, *, seed: int = 0) -> Scenes:
        """Pictures of one subject alone: different backgrounds and places, no hat. What a person would hand over."""
        rng = np.random.default_rng([self.seed, 8, seed, zlib.crc32(subject.name.encode())])
        made = Scenes.empty(count, (subject,))
        made.background[:] = np.resize(rng.permutation(len(BACKGROUNDS)), count)
        made.noun[:, 0], made.subject[:, 0] = NOUNS.index(subject.noun), 0
        made.slot[:, 0] = np.resize(rng.permutation(5), count)
        made.offset[:, 0] = rng.integers(2, size=count)
        return made

    def together(self, subjects: Sequence[Subject], count: int = 4, *, seed: int = 0) -> Scenes:
        """Pictures with two subjects, the first in every relation to the second."""
        if len(subjects) != 2:
            raise ConfigError(f"{len(subjects)} subjects", fix="give two")
        rng = np.random.default_rng([self.seed, 9, seed, *(zlib.crc32(one.name.encode()) for one in subjects)])
        made = Scenes.empty(count, subjects)
        made.background[:] = np.resize(rng.permutation(len(BACKGROUNDS)), count)
        made.relation[:] = np.resize(rng.permutation(len(RELATIONS)), count)
        for place, one in enumerate(subjects):
            made.noun[:, place], made.subject[:, place] = NOUNS.index(one.noun), place
        made.slot[:, :2] = self._places(rng, made)[:, :2]
        made.offset[:, :2] = rng.integers(2, size=(count, 2))
        return made
