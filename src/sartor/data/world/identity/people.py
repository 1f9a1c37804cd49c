"""Who there is: genes that never change, hair, and which outfit is worn on which day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sartor.data.world.draws import Draws, address

LOOKS = (
    "head ratio", "jaw", "eye gap", "eye height", "eye size", "eye tilt", "iris hue", "brow thickness", "brow slant", "nose length", "nose width",
    "mouth width", "lip thickness", "mouth height", "skin tone", "mole u", "mole v", "blush",
)  # fmt: skip
AGEING = ("greying onset", "wrinkle rate", "fullness loss", "hairline retreat", "lid droop")
BODY = ("height", "shoulder", "leg share", "head size", "gait phase speed", "gait width")
STYLES = ("cap", "fringe", "long")
SEASON = 91
"""Days of a season; day 0 is the first of winter."""
PATTERNS = ("plain", "plain", "across", "along", "checks")
BAGS = ("none", "none", "shoulder", "back")


@dataclass(frozen=True)
class People:
    """Some people's genes, all in [0, 1]; a person is its number, the same in any selection."""

    numbers: np.ndarray
    """int64 [n]."""
    looks: np.ndarray
    """float32 [n, 18], see `LOOKS`."""
    ageing: np.ndarray
    """float32 [n, 5], see `AGEING`."""
    body: np.ndarray
    """float32 [n, 6], see `BODY`."""
    hair: np.ndarray
    """float32 [n, 2]: hue and value of the hair's colour."""
    style: np.ndarray
    """int8 [n], in `STYLES`."""

    def __len__(self) -> int:
        return int(self.numbers.size)

    def gene(self, name: str) -> np.ndarray:
        """float32 [n], one of `LOOKS` or `BODY`."""
        return self.looks[:, LOOKS.index(name)] if name in LOOKS else self.body[:, BODY.index(name)]


def people(draws: Draws, numbers: np.ndarray) -> People:
    """The people of these numbers."""
    numbers = np.asarray(numbers, np.int64)

    def genes(purpose: str, count: int) -> np.ndarray:
        return draws.uniform(purpose, address(numbers[:, None], np.arange(count))).astype(np.float32)

    hair = genes("identity hair", 3)
    return People(
        numbers, genes("identity looks", 18), genes("identity ageing", 5), genes("identity body", 6), hair[:, :2], (hair[:, 2] * 3).astype(np.int8)
    )


@dataclass(frozen=True)
class Outfits:
    """What is worn, one row a picture."""

    top: np.ndarray
    """float32 [n, 2, 3], RGB of the two colours of what is on top."""
    pattern: np.ndarray
    """int8 [n], in `PATTERNS`."""
    trousers: np.ndarray
    """float32 [n, 3]."""
    shoes: np.ndarray
    """float32 [n, 3]."""
    sleeves: np.ndarray
    """bool [n]: long."""
    coat: np.ndarray
    """bool [n]: reaches over the thighs."""
    bag: np.ndarray
    """int8 [n], in `BAGS`."""
    bag_colour: np.ndarray
    """float32 [n, 3]."""
    hat: np.ndarray
    """float32 [n, 3]; negative where there is none."""


def outfit_numbers(draws: Draws, numbers: np.ndarray, day: np.ndarray, wardrobe: int) -> np.ndarray:
    """int64 [n], which of a person's outfits is worn on a day: one of `wardrobe`, all of which are new every season."""
    chosen = draws.uniform("identity calendar", address(numbers, day))
    return (day // SEASON) * wardrobe + (chosen * wardrobe).astype(np.int64)


def outfits(draws: Draws, numbers: np.ndarray, outfit: np.ndarray, palette: np.ndarray, cold: np.ndarray) -> Outfits:
    """The outfits of these numbers.

    Parameters
    ----------
    outfit: int [n], from `outfit_numbers`.
    palette: float [n, 4], of where people are: hue centre, hue spread, saturation and value, as factors.
    cold: float [n], 0 (nobody wears a coat) to 1.
    """
    u = draws.uniform("identity outfit", address(numbers[:, None], outfit[:, None] * 32 + np.arange(24))).astype(np.float32)
    hue = palette[:, :1] + palette[:, 1:2] * (u[:, :4] - 0.5)
    saturation = np.clip(palette[:, 2:3] * (0.15 + 0.85 * u[:, 4:8]), 0, 1)
    value = np.clip(palette[:, 3:4] * (0.12 + 0.88 * u[:, 8:12]), 0, 1)
    colours = rgb(hue, saturation, value)
    # Trousers and shoes are duller than what is worn on top.
    dull = rgb(u[:, 12:14], 0.45 * u[:, 14:16], 0.1 + 0.6 * u[:, 16:18])
    hat = np.where((u[:, 18] < 0.15 + 0.25 * cold)[:, None], colours[:, 2], -1)
    return Outfits(
        top=colours[:, :2], pattern=(u[:, 19] * len(PATTERNS)).astype(np.int8), trousers=dull[:, 0], shoes=dull[:, 1],
        sleeves=u[:, 20] < 0.35 + 0.65 * cold, coat=u[:, 21] < 0.8 * cold, bag=(u[:, 22] * len(BAGS)).astype(np.int8),
        bag_colour=colours[:, 3], hat=hat,
    )  # fmt: skip


def rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """float32 [..., 3] in [0, 1] from hue (in turns), saturation and value."""
    k = (np.array([5, 3, 1], np.float32) + 6 * hue[..., None]) % 6
    return (value[..., None] * (1 - saturation[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1))).astype(np.float32)
