"""What a picture shows, read exactly: everything that could be there is put there, and what leaves the smallest error is what is there.

Nothing is learned, so the reader can judge pictures that a network drew without sharing a network's mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sartor.data.world.shapes.scenes import CORNERS, GROUNDS, OFFSETS, SIZE
from sartor.data.world.shapes.sprites import CLEAR, DARK, FIRST, HAT, HAT_ROWS, OWN, RULES, SECOND, SIDE, Rule, Subject, templates
from sartor.data.world.shapes.words import COLOURS, FAMILIES, FIXED, SLOTS
from sartor.errors import BadImage

LEAST = 1.0
"""By how much squared error (RGB in [0, 1]) something has to be better than the bare background to be an object; a red square is at 50."""
NOISE = 0.05
"""Standard deviation that a picture has at least: below it, errors are alike."""
MUCH = 6.0
"""What explains so much is there even if it takes longer to say than the noise that it explains: something that no words fit."""
CLIPPED = 0.3
"""Of a pixel's squared error, while the background is read: objects must not count."""
CHUNK = 256
"""Pictures at once."""

_COLOURS = np.array(list(COLOURS.values()), np.float32)
_SPRITES, _MASKS, _NAMES = templates()
_FLAT = (_SPRITES * _MASKS[..., None]).reshape(len(_SPRITES), -1).astype(np.float32)
_FLAT_MASKS = _MASKS.reshape(len(_MASKS), -1).astype(np.float32)
_CODES = np.array([0, np.log(len(_NAMES)), *(RULES[name].size * np.log(2) + 3 * np.log(SIDE * SIDE) for name in FAMILIES)], np.float32)
"""Nats that it takes to say nothing, which fixed sprite, or which pattern and two colours an individual has."""
_Y, _X = (
    (CORNERS[:, None, axis] + np.array(OFFSETS))[:, :, None, None] + np.indices((SIDE + HAT_ROWS, SIDE))[axis]
    for axis in (0, 1)
)  # fmt: skip
"""Rows and columns of the box of every slot and offset: int [5, 2, 11, 9]."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What n pictures show; -1 where there is nothing. Slots are in the order of `SLOTS`."""

    background: np.ndarray
    """int8 [n]."""
    noun: np.ndarray
    """int8 [n, 5]; -1: no object."""
    colour: np.ndarray
    """int8 [n, 5], the nearest word to the (first) colour."""
    texture: np.ndarray
    """int8 [n, 5]; -1 for families."""
    hat: np.ndarray
    """int8 [n, 5], its colour; -1: none."""
    offset: np.ndarray
    """int8 [n, 5]."""
    gain: np.ndarray
    """float32 [n, 5], squared error that the object explains, over the bare background."""

    def __len__(self) -> int:
        return int(self.background.size)

    @property
    def count(self) -> np.ndarray:
        """int64 [n], objects in each picture."""
        return (self.noun >= 0).sum(1)


def as_pictures(images: np.ndarray) -> np.ndarray:
    """float32 [n, 24, 24, 3] in [0, 1] from uint8, or from floats in [0, 1]; raises `BadImage`."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 3):
        raise BadImage(f"pictures of shape {list(images.shape)}", fix=f"give [n, {SIZE}, {SIZE}, 3]")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    bad = ~np.isfinite(images).all((1, 2, 3)) | (images.min((1, 2, 3), initial=0) < -1e-3) | (images.max((1, 2, 3), initial=1) > 1.001)
    if bad.any():
        raise BadImage("values outside [0, 1]", fix="give uint8, or floats from 0 to 1", image=int(np.flatnonzero(bad)[0]))
    return images.astype(np.float32)


def backgrounds(pictures: np.ndarray) -> np.ndarray:
    """int8 [n], the nearest background of each picture, whatever stands on it."""
    errors = [np.minimum(((pictures - ground) ** 2).sum(-1), CLIPPED).sum((1, 2)) for ground in GROUNDS]
    return np.argmin(errors, 0).astype(np.int8)


def read(images: np.ndarray) -> Reading:
    """What pictures show: uint8 [n, 24, 24, 3], or floats in [0, 1]; raises `BadImage`."""
    pictures = as_pictures(images)
    parts = [_read(pictures[start : start + CHUNK]) for start in range(0, max(1, len(pictures)), CHUNK)]
    return Reading(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def boxes(pictures: np.ndarray) -> np.ndarray:
    """float32 [n, 5, 2, 11, 9, ...]: the box of every slot and offset, hat above."""
    return pictures[:, _Y, _X]


def _read(pictures: np.ndarray) -> tuple[np.ndarray, ...]:
    n, places = len(pictures), len(SLOTS) * len(OFFSETS)
    background = backgrounds(pictures)
    bare = ((pictures - GROUNDS[background]) ** 2).sum(-1)
    box, empty = boxes(pictures), boxes(bare)
    body = box[:, :, :, HAT_ROWS:].reshape(n * places, SIDE * SIDE, 3)
    without = empty[:, :, :, HAT_ROWS:].reshape(n * places, SIDE * SIDE)
    fixed = _fixed(body, without)
    family, first = (np.stack(part, 1) for part in zip(*(_individual(body, without, RULES[name]) for name in FAMILIES), strict=True))
    sprite = fixed.argmin(1)
    every = np.concatenate([np.take_along_axis(fixed, sprite[:, None], 1), family], 1)
    lengths = _lengths(every, without.sum(1))
    kind, worth = lengths[:, 1:].argmin(1), lengths[:, 1:].min(1) < lengths[:, 0]
    change = np.take_along_axis(every, kind[:, None], 1)[:, 0]
    hat, hatted = _hat(box[:, :, :, :HAT_ROWS].reshape(n * places, HAT.size, 3), empty[:, :, :, :HAT_ROWS].reshape(n * places, HAT.size))
    change = change + hatted
    own, is_fixed, of_template = (kind - 1).clip(min=0), kind == 0, _NAMES[sprite]
    tint = first[np.arange(len(own)), own]
    nearest = ((tint[:, None] - _COLOURS) ** 2).sum(-1).argmin(1)
    found = (
        np.where(is_fixed, of_template[:, 0], len(FIXED) + own),
        np.where(is_fixed, of_template[:, 1], nearest),
        np.where(is_fixed, of_template[:, 2], -1),
        hat,
    )
    change = change.reshape(n, len(SLOTS), len(OFFSETS))
    offset = change.argmin(2)
    change = np.take_along_axis(change, offset[..., None], 2)[..., 0]
    worth = np.take_along_axis(worth.reshape(n, len(SLOTS), len(OFFSETS)), offset[..., None], 2)[..., 0]
    there = (-change > LEAST) & (worth | (-change > MUCH))
    # The one in the center overlaps the corners: either it is alone, or they are without it.
    corners = np.where(there[:, :4], change[:, :4], 0).sum(1)
    center = there[:, 4] & (change[:, 4] < corners)
    there = np.where(np.arange(5) == 4, center[:, None], there & ~center[:, None])
    chosen = [np.take_along_axis(part.reshape(n, len(SLOTS), len(OFFSETS)), offset[..., None], 2)[..., 0] for part in found]
    shown = [np.where(there, part, -1).astype(np.int8) for part in chosen]
    return (background, *shown, np.where(there, offset, -1).astype(np.int8), np.where(there, -change, 0).astype(np.float32))


def _lengths(change: np.ndarray, without: np.ndarray) -> np.ndarray:
    """float [P, 5], up to a constant: nats that it takes to say what is seen as nothing, the best fixed shape, the best individual of each family.

    A free pattern follows noise and blur, so that the smallest error alone would read a blurred ring as a badge: what it takes to say the pattern
    counts as well (minimum description length, Rissanen 1978; a pixel's three channels err together).
    """
    error = np.concatenate([without[:, None], change + without[:, None]], 1).clip(min=0) + 3 * SIDE * SIDE * NOISE**2
    return np.asarray(SIDE * SIDE / 2 * np.log(error) + _CODES)


def _fixed(body: np.ndarray, without: np.ndarray) -> np.ndarray:
    """float32 [P, 240]: change of squared error by putting each fixed sprite there."""
    squares = (body**2).sum(-1) - without
    return squares @ _FLAT_MASKS.T - 2 * body.reshape(len(body), _FLAT.shape[1]) @ _FLAT.T + (_FLAT**2).sum(1)


def _hat(box: np.ndarray, without: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best hat [P] (-1: none) and the change of squared error by it."""
    mask = HAT.ravel()
    changes = ((box[:, None, mask] - _COLOURS[:, None]) ** 2).sum((-1, -2)) - without[:, None, mask].sum(-1)
    best = changes.argmin(1)
    change = np.take_along_axis(changes, best[:, None], 1)[:, 0]
    return np.where(change < 0, best, -1), np.minimum(change, 0)


def _individual(body: np.ndarray, without: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Change of squared error [P] by the best individual of a family, and its first colour [P, 3]: pattern and colours in turn, three times."""
    fixed, bits = rule.fixed.ravel(), rule.bits.ravel()
    on, off = rule.on.ravel(), rule.off.ravel()
    group = np.zeros((fixed.size, rule.size), np.float32)
    group[np.flatnonzero(bits >= 0), bits[bits >= 0]] = 1
    colours = [body[:, fixed == role].mean(1) for role in (FIRST, SECOND)]
    costs = np.empty((*without.shape, 4), np.float32)
    costs[..., CLEAR] = without
    costs[..., OWN] = ((body - np.array(rule.own, np.float32)) ** 2).sum(-1)
    pixel = np.arange(fixed.size)
    roles = np.zeros(0)
    for _ in range(3):
        for role, colour in zip((FIRST, SECOND), colours, strict=True):
            costs[..., role] = ((body - colour[:, None]) ** 2).sum(-1)
        better = (costs[:, pixel, on] - costs[:, pixel, off]) @ group < 0
        roles = np.where(fixed >= 0, fixed, np.where(better[:, bits.clip(min=0)], on, off))
        colours = []
        for role in (FIRST, SECOND):
            mine = (roles == role).astype(np.float32)[..., None]
            colours.append((body * mine).sum(1) / mine.sum(1))
    for role, colour in zip((FIRST, SECOND), colours, strict=True):
        costs[..., role] = ((body - colour[:, None]) ** 2).sum(-1)
    change = np.take_along_axis(costs, roles[..., None].astype(np.int64), 2)[..., 0].sum(1) - without.sum(1)
    first, second = colours
    # An individual has two colours, and not a texture's shades: what has not is a fixed shape.
    two = (np.linalg.norm(first - second, axis=1) > 0.2) & (np.linalg.norm(second - DARK * first, axis=1) > 0.15)
    return np.where(two, change, np.inf), first


def likeness(images: np.ndarray, subject: Subject, others: Sequence[Subject]) -> np.ndarray:
    """float32 [n, 5]: how much each slot shows the very subject: 1 - its squared error / that of other individuals of its class.

    1 is the subject, 0 a stranger (the mean over `others`); an error is that of the 9 x 9 box, its clear pixels against the read background,
    at the better offset.
    """
    pictures = as_pictures(images)
    bare = GROUNDS[backgrounds(pictures)]
    errors = np.stack([_errors(pictures, bare, one) for one in (subject, *others)], -1)
    return 1 - errors[..., 0] / errors[..., 1:].mean(-1).clip(min=1e-9)


def _errors(pictures: np.ndarray, bare: np.ndarray, subject: Subject) -> np.ndarray:
    """float32 [n, 5]."""
    picture, ground = (boxes(part)[:, :, :, HAT_ROWS:] for part in (pictures, bare))
    shown = np.where(subject.mask[..., None], subject.picture, ground)
    return ((picture - shown) ** 2).sum((-1, -2, -3)).min(2)
