"""What objects look like: 9 x 9 patterns of roles, coloured by a palette; six fixed shapes and three families of individuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.data.world.draws import Draws, address
from sartor.data.world.shapes.words import COLOURS, FAMILIES, FIXED, NOUNS, TEXTURES

SIDE = 9
"""Pixels of a sprite, both ways."""
HAT_ROWS = 2
"""A hat stands on top of it."""
CLEAR, FIRST, SECOND, OWN = range(4)
"""Roles of a pixel: the background, the first colour, the second colour, the family's own fixed colour."""
DARK = 0.4
"""The second colour of a texture is this much of the first."""
HELD_OUT = 1 << 30
"""Identities from here on are never in training."""
TRAINED = 1 << 20
"""Identities of training are below this."""

_r, _c = np.mgrid[:SIDE, :SIDE] - SIDE // 2
_d2 = _r * _r + _c * _c
_y, _x = _r + 4, _c + 4

SHAPE_MASKS = np.stack(
    [
        np.ones((SIDE, SIDE), bool),  # square
        _d2 <= 18,  # circle
        2 * np.abs(_c) <= _y,  # triangle
        (np.abs(_r) <= 1) | (np.abs(_c) <= 1),  # cross
        np.abs(_r) + np.abs(_c) <= 4,  # diamond
        (_d2 <= 18) & (_d2 > 5),  # ring
    ]
)
"""bool [6, 9, 9] of `FIXED`."""
PATTERNS = np.stack(
    [
        np.zeros((SIDE, SIDE), bool),
        _y % 3 == 1,
        _x % 3 == 1,
        (_y // 2 + _x // 2) % 2 == 1,
        (_y % 3 == 1) & (_x % 3 == 1),
    ]
)
"""bool [5, 9, 9] of `TEXTURES`: where the second colour is."""
HAT = np.array([[0, 0, 0, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1, 0, 0]], bool)
"""bool [2, 9]."""


@dataclass(frozen=True)
class Rule:
    """What all individuals of a family share."""

    fixed: np.ndarray
    """int8 [9, 9], the role of pixels that are always the same; -1 where individuals differ."""
    bits: np.ndarray
    """int16 [9, 9], which bit decides a pixel (mirrored pixels share one, and so do those of a block); -1 where none does."""
    off: np.ndarray
    """uint8 [9, 9], the role where the bit is 0."""
    on: np.ndarray
    """uint8 [9, 9], the role where it is 1."""
    chance: np.ndarray
    """float64 [bits], how often a bit is 1."""
    own: tuple[float, float, float]
    """RGB of the fixed colour."""

    @property
    def size(self) -> int:
        """Number of bits."""
        return int(self.chance.size)


def _rule(fixed: np.ndarray, groups: np.ndarray, off: np.ndarray, on: np.ndarray, often: np.ndarray, own: tuple[float, float, float]) -> Rule:
    free = fixed < 0
    keys, number = np.unique(groups[free], return_inverse=True)
    bits = np.full((SIDE, SIDE), -1, np.int16)
    bits[free] = number
    chance = np.zeros(keys.size)
    chance[number] = often[free]
    return Rule(fixed.astype(np.int8), bits, off.astype(np.uint8), on.astype(np.uint8), chance, own)


def _critter() -> Rule:
    """Mirrored random limbs around a body with eyes and a mouth."""
    half = np.abs(_c)
    body = (_y >= 2) & (_y <= 6) & (half <= 2)
    fixed = np.full((SIDE, SIDE), -1)
    fixed[body & ((_y == 2) | (_y == 6))] = FIRST
    fixed[(_y == 5) & (half <= 1)] = SECOND
    fixed[(_y == 3) & (half == 2)] = OWN
    off, on = np.where(body, FIRST, CLEAR), np.where(body, SECOND, FIRST)
    return _rule(fixed, _y * 5 + half, off, on, np.where(body, 0.4, 0.45), (1.0, 1.0, 1.0))


def _badge() -> Rule:
    """A disc with a rim and a mirrored pattern."""
    fixed = np.full((SIDE, SIDE), -1)
    fixed[_d2 > 18] = CLEAR
    fixed[(_d2 <= 18) & (_d2 > 10)] = FIRST
    fixed[4, 4] = SECOND
    same = np.full((SIDE, SIDE), FIRST)
    return _rule(fixed, _y * 5 + np.abs(_c), same, np.full((SIDE, SIDE), SECOND), np.full((SIDE, SIDE), 0.5), (0.0, 0.0, 0.0))


def _flag() -> Rule:
    """A pole and 3 x 4 blocks."""
    fixed = np.full((SIDE, SIDE), -1)
    fixed[(_y >= 6) & (_x >= 1)] = CLEAR
    fixed[:, 0] = OWN
    fixed[0:2, 1:3] = FIRST
    fixed[4:6, 7:9] = SECOND
    groups = np.where(_x > 0, (_y // 2) * 4 + (_x - 1) // 2, 0)
    same = np.full((SIDE, SIDE), FIRST)
    return _rule(fixed, groups, same, np.full((SIDE, SIDE), SECOND), np.full((SIDE, SIDE), 0.5), (0.45, 0.33, 0.20))


RULES: dict[str, Rule] = dict(zip(FAMILIES, (_critter(), _badge(), _flag()), strict=True))

_COLOURS = np.array(list(COLOURS.values()))


def family_roles(noun: str, identity: np.ndarray) -> np.ndarray:
    """uint8 [m, 9, 9], the roles of individuals: int64 [m] identity numbers (below 2**40)."""
    rule = RULES[noun]
    drawn = Draws(0).uniform(f"shapes:{noun}", address(np.asarray(identity)[:, None], np.arange(rule.size)))
    return _fill(rule, drawn < rule.chance)


def _fill(rule: Rule, bits: np.ndarray) -> np.ndarray:
    """uint8 [m, 9, 9] from bool [m, bits]."""
    chosen = np.where(bits[:, rule.bits.clip(min=0)], rule.on, rule.off)
    return np.where(rule.fixed >= 0, rule.fixed, chosen).astype(np.uint8)


def fixed_roles(noun: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """uint8 [m, 9, 9] of fixed shapes: int [m] numbers in `FIXED` and bool [m, 9, 9] where the second colour is."""
    return np.where(SHAPE_MASKS[noun], np.where(pattern, SECOND, FIRST), CLEAR).astype(np.uint8)


def palette(noun: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float32 [m, 4, 3], RGB of every role, from noun numbers and two RGB colours [m, 3]; fixed shapes have a darker first as their second."""
    noun = np.asarray(noun)
    own = np.array([[0.0] * 3] * len(FIXED) + [RULES[name].own for name in FAMILIES])
    shades = np.where((noun < len(FIXED))[:, None], DARK * first, second)
    return np.stack([np.zeros_like(first), first, shades, own[noun]], 1).astype(np.float32)


def templates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All fixed sprites: float32 [240, 9, 9, 3], bool [240, 9, 9] where they are, and int8 [240, 3] their noun, colour and texture."""
    noun, colour, texture = (part.ravel() for part in np.mgrid[: len(FIXED), : len(_COLOURS), : len(TEXTURES)])
    roles = fixed_roles(noun, PATTERNS[texture])
    shown = palette(noun, _COLOURS[colour], _COLOURS[colour])[np.arange(noun.size)[:, None, None], roles]
    return shown, roles > 0, np.stack([noun, colour, texture], 1).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Subject:
    """One individual, whatever words there are for it."""

    name: str
    noun: str
    roles: np.ndarray
    """uint8 [9, 9]."""
    palette: np.ndarray
    """float32 [4, 3]."""

    @property
    def picture(self) -> np.ndarray:
        """float32 [9, 9, 3]; zero where it is clear."""
        return self.palette[self.roles]

    @property
    def mask(self) -> np.ndarray:
        """bool [9, 9]."""
        return self.roles > CLEAR


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """bool [m]: whether two colours [m, 3] can be told apart, also from a texture's shade; the colours of individuals always can."""
    return (np.linalg.norm(first - second, axis=-1) >= 0.4) & (np.linalg.norm(second - DARK * first, axis=-1) >= 0.3)


def individuals(noun: str, count: int, *, seed: int, start: int = HELD_OUT) -> list[Subject]:
    """Individuals of a family that no training picture shows, in colours between the words: RGB from [0.15, 0.95]."""
    numbers = start + np.arange(count) + (seed % 1024) * 65_536
    rng = np.random.default_rng([seed, start, NOUNS.index(noun)])
    made = []
    for number, roles in zip(numbers, family_roles(noun, numbers), strict=True):
        first, second = rng.uniform(0.15, 0.95, (2, 3))
        # Outside the eight words, so that no word of the language names it.
        while not apart(first, second) or min(np.linalg.norm(_COLOURS - one, axis=1).min() for one in (first, second)) < 0.15:
            first, second = rng.uniform(0.15, 0.95, (2, 3))
        colours = palette(np.array([NOUNS.index(noun)]), first[None], second[None])[0]
        made.append(Subject(f"{noun}-{number - start}", noun, roles, colours))
    return made
