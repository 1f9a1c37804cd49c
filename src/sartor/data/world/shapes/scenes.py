"""What is in a picture, for a batch of them: objects, places and backgrounds as numbers; captions that say it; pictures that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from sartor.data.world.shapes import words
from sartor.data.world.shapes.sprites import HAT, HAT_ROWS, PATTERNS, SIDE, Subject, family_roles, fixed_roles, palette
from sartor.data.world.shapes.words import BACKGROUNDS, COLOURS, FAMILIES, FIXED, MOST, NOUNS, RELATIONS, SLOTS, TEXTURES

SIZE = 24
"""Pixels of a picture, both ways."""
CORNERS = np.array([[0, 1], [0, 13], [12, 1], [12, 13], [6, 7]])
"""int [5, 2], row and column of the hat's box of every slot, before its offset of 0 or 1 both ways."""
OFFSETS = (0, 1)
SIDES = {0: ((0, 1), (2, 3)), 1: ((1, 0), (3, 2)), 2: ((0, 2), (1, 3)), 3: ((2, 0), (3, 1))}
"""Slots of two objects, by the number of the relation in `RELATIONS`."""

_TWO_COLOURS = {
    "night": ((0.07, 0.07, 0.20), (0.50, 0.50, 0.62)), "snow": ((0.94, 0.96, 0.99), (0.78, 0.83, 0.92)),
    "sea": ((0.14, 0.34, 0.58), (0.26, 0.50, 0.72)), "grass": ((0.24, 0.46, 0.20), (0.36, 0.60, 0.30)),
    "sand": ((0.86, 0.77, 0.54), (0.74, 0.62, 0.40)), "brick": ((0.52, 0.27, 0.20), (0.72, 0.66, 0.60)),
}  # fmt: skip


def _backgrounds() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    marks = {
        "night": (y % 6 == 1) & ((x + 3 * (y // 6)) % 6 == 2),
        "snow": (y % 4 == 2) & ((x + 2 * (y // 4)) % 4 == 1),
        "sea": (y + (x // 3) % 2) % 4 == 0,
        "grass": (x % 3 == 1) & ((y + x // 3) % 4 < 2),
        "sand": (2 * x + y) % 7 == 0,
        "brick": (y % 4 == 3) | ((x + 3 * ((y // 4) % 2)) % 6 == 5),
    }
    return np.stack([np.where(marks[name][:, :, None], *(np.array(c) for c in reversed(_TWO_COLOURS[name]))) for name in BACKGROUNDS]).astype(
        np.float32
    )


GROUNDS = _backgrounds()
"""float32 [6, 24, 24, 3], RGB in [0, 1]."""
_COLOURS = np.array(list(COLOURS.values()))


@dataclass(frozen=True, eq=False)
class Scenes:
    """What is in n pictures; -1 where there is nothing. Objects stand in the order in which a caption names them."""

    background: np.ndarray
    """int8 [n]."""
    relation: np.ndarray
    """int8 [n], of the first object to the second; -1 for one object, and for equal ones."""
    noun: np.ndarray
    """int8 [n, 4]; -1 where there is no object."""
    colour: np.ndarray
    """int8 [n, 4]; -1 for subjects, whose colours have no word."""
    second: np.ndarray
    """int8 [n, 4], the other colour of a family's individual."""
    texture: np.ndarray
    """int8 [n, 4]; -1 for families, whose pattern is their own."""
    hat: np.ndarray
    """int8 [n, 4], its colour."""
    identity: np.ndarray
    """int64 [n, 4], which individual."""
    subject: np.ndarray
    """int16 [n, 4], number in `subjects`; -1 for everything else."""
    slot: np.ndarray
    """int8 [n, 4], where."""
    offset: np.ndarray
    """int8 [n, 4], 0 or 1 pixel down and right."""
    subjects: tuple[Subject, ...] = ()

    def __len__(self) -> int:
        return int(self.background.size)

    @property
    def count(self) -> np.ndarray:
        """int64 [n], objects in each picture."""
        return (self.noun >= 0).sum(1)

    def rows(self, rows: np.ndarray) -> Scenes:
        """Some of the pictures."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "subjects"})

    def set(self, rows: np.ndarray, other: Scenes) -> None:
        """Put other scenes in the place of some; in place, for who is still drawing them."""
        for f in fields(self):
            if f.name != "subjects":
                getattr(self, f.name)[rows] = getattr(other, f.name)

    @classmethod
    def empty(cls, n: int, subjects: Sequence[Subject] = ()) -> Scenes:
        """Nothing but backgrounds number 0."""
        own = {name: np.full((n, MOST), -1, np.int8) for name in ("noun", "colour", "second", "texture", "hat", "slot")}
        return cls(
            np.zeros(n, np.int8), np.full(n, -1, np.int8), **own, identity=np.full((n, MOST), -1, np.int64),
            subject=np.full((n, MOST), -1, np.int16), offset=np.zeros((n, MOST), np.int8), subjects=tuple(subjects),
        )  # fmt: skip

    def captions(self, *, dropped: np.random.Generator | None = None, names: Sequence[str] = ()) -> list[str]:
        """What each picture shows, in full. With `dropped`, each colour, texture, hat, place and background is left out at random: every caption
        has its own rate between 10 and 30 %. Subjects are called by `names`, such as '<v> critter', or by their noun."""
        keep = np.ones((len(self), 10), bool)
        if dropped is not None:
            keep = dropped.random((len(self), 10)) >= dropped.uniform(0.1, 0.3, (len(self), 1))
        return [self._caption(row, keep[row], names) for row in range(len(self))]

    def _caption(self, row: int, keep: np.ndarray, names: Sequence[str]) -> str:
        colours = (*COLOURS, "")
        count = int((self.noun[row] >= 0).sum())
        related = self.relation[row] >= 0
        parts = []
        for place in range(2 if related else min(count, 1)):
            noun, subject, own = int(self.noun[row, place]), int(self.subject[row, place]), keep[4 * place :]
            name = names[subject] if subject >= 0 and names else NOUNS[noun]
            colour = colours[self.colour[row, place]] if own[0] else ""
            texture = (*TEXTURES, "")[self.texture[row, place]] if own[1] else ""
            hat = colours[self.hat[row, place]] if own[2] else ""
            parts.append(words.phrase(name, colour, texture, hat, count=1 if related else count))
        if related:
            parts.insert(1, RELATIONS[self.relation[row]])
        if count == 1 and keep[8]:
            parts.append(f"at {SLOTS[self.slot[row, 0]]}")
        if keep[9]:
            parts.append(f"on {BACKGROUNDS[self.background[row]]}")
        return " ".join(parts)

    def roles(self) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [n, 4, 9, 9] roles and float32 [n, 4, 4, 3] palettes of all objects."""
        roles = np.zeros((*self.noun.shape, SIDE, SIDE), np.uint8)
        noun, colour, second = (part.clip(min=0) for part in (self.noun, self.colour, self.second))
        colours = palette(noun.ravel(), _COLOURS[colour.ravel()], _COLOURS[second.ravel()]).reshape(*noun.shape, 4, 3)
        fixed = (self.noun >= 0) & (self.noun < len(FIXED)) & (self.subject < 0)
        roles[fixed] = fixed_roles(self.noun[fixed], PATTERNS[self.texture[fixed].clip(min=0)])
        for number, name in enumerate(FAMILIES, len(FIXED)):
            these = (self.noun == number) & (self.subject < 0)
            roles[these] = family_roles(name, self.identity[these])
        for number, own in enumerate(self.subjects):
            these = self.subject == number
            roles[these], colours[these] = own.roles, own.palette
        return roles, colours

    def render(self, *, noise: float = 0.0, rng: np.random.Generator | None = None) -> np.ndarray:
        """uint8 [n, 24, 24, 3]; `noise` is the standard deviation of what is added to every channel of [0, 1]."""
        image = GROUNDS[self.background].copy()
        roles, colours = self.roles()
        for place in range(MOST):
            rows = np.flatnonzero(self.noun[:, place] >= 0)
            top = CORNERS[self.slot[rows, place]] + self.offset[rows, place, None]
            y, x = (top[:, axis, None, None] + np.indices((SIDE, SIDE))[axis] for axis in (0, 1))
            at = (rows[:, None, None], y + HAT_ROWS, x)
            role = roles[rows, place]
            shown = colours[rows, place][np.arange(rows.size)[:, None, None], role]
            image[at] = np.where(role[..., None] > 0, shown, image[at])
            hatted = rows[self.hat[rows, place] >= 0]
            top = CORNERS[self.slot[hatted, place]] + self.offset[hatted, place, None]
            y, x = np.nonzero(HAT)
            image[hatted[:, None], top[:, :1] + y, top[:, 1:] + x] = _COLOURS[self.hat[hatted, place]][:, None]
        if noise:
            image = image + noise * (rng or np.random.default_rng(0)).standard_normal(image.shape)
        return np.rint(image.clip(0, 1) * 255).astype(np.uint8)

    def masks(self, place: int = 0, *, hats: bool = False) -> np.ndarray:
        """bool [n, 24, 24], where an object of each picture is: the truth that region masks are compared with."""
        out = np.zeros((len(self), SIZE, SIZE), bool)
        roles, _ = self.roles()
        for row in np.flatnonzero(self.noun[:, place] >= 0):
            y, x = CORNERS[self.slot[row, place]] + self.offset[row, place]
            out[row, y + HAT_ROWS : y + HAT_ROWS + SIDE, x : x + SIDE] = roles[row, place] > 0
            if hats and self.hat[row, place] >= 0:
                out[row, y : y + HAT_ROWS, x : x + SIDE] |= HAT
        return out
