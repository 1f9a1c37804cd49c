"""Faces of the identity world: the same heads that figures have, near and from in front, in a studio or as people take them of themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sartor.data.world.draws import address
from sartor.data.world.identity import cameras as _cameras
from sartor.data.world.identity import people as _people
from sartor.data.world.identity.figures import IdentityWorld
from sartor.data.world.identity.painter import paint
from sartor.data.world.identity.skeleton import Stance, body
from sartor.errors import ConfigError

TALL, WIDE = 48, 40
"""Pixels of a portrait."""
_HEAD = 13.0
"""Pixels from the middle of a head to its top."""
_CROWN = 22
"""Which of the shapes of `skeleton.body` is the hair on top."""


def portraits(world: IdentityWorld, people: np.ndarray, shot: int | np.ndarray = 0, *, studio: bool = False) -> np.ndarray:
    """uint8 [n, 48, 40, 3], one of each of these people; the same pixels for the same (seed, person, shot, studio).

    Parameters
    ----------
    shot: number of the picture, one for all or one each: other light, other clothes, another day.
    studio: from in front, in even light, before a light wall, as documents ask for; else turned by up to 20 degrees, by any camera, anywhere.

    Raises `ConfigError` for shots out of range.
    """
    people = np.asarray(people, np.int64)
    shots = np.broadcast_to(np.asarray(shot, np.int64), people.shape)
    if people.ndim != 1 or (people.size and not 0 <= shots.min() <= shots.max() < 4096):
        raise ConfigError(f"shots of {people.size} people up to {shots.max(initial=0)}", fix="give people [n], and shots from 0 to 4095")
    purpose = "identity studio" if studio else "identity selfie"
    u = world.draws.uniform(purpose, address(people[:, None], shots[:, None] * 16 + np.arange(16))).astype(np.float32)
    free = 0.15 if studio else 1.0
    who = world.people(people)
    pitch = 0.04 + 0.2 * free * (u[:, 0] - 0.5)
    heading = 0.7 * free * (u[:, 1] - 0.5)
    # Heads are brought to one size, as in every passport office.
    share = (0.068 + 0.028 * who.gene("head size")) * (40 + 15 * who.gene("height"))
    scale = _HEAD / share * (1 + 0.16 * free * (u[:, 2] - 0.5))
    tall = (40 + 15 * who.gene("height")) * scale
    middle = 0.46 * TALL + 4 * free * (u[:, 3] - 0.5) + (tall - 1.1 * scale * share) * np.cos(pitch)
    stance = Stance(heading, 2 * np.pi * u[:, 4], ((WIDE - 1) / 2 + 4 * free * (u[:, 5] - 0.5), middle), scale, pitch)
    place = np.full(people.size, 9_001) if studio else 10_000 + (40 * u[:, 6]).astype(np.int64)
    camera = np.zeros(people.size, np.int64) if studio else (6 * u[:, 7]).astype(np.int64)
    seen = _cameras.cameras(world.draws, place, camera)
    worn = _people.outfits(world.draws, people, 7_000 + shots, _cameras.palettes(world.draws, place), np.zeros(people.size, np.float32))
    worn = replace(worn, hat=np.full_like(worn.hat, -1), bag=np.zeros_like(worn.bag))
    wall = np.full((people.size, 3), 0.82, np.float32) if studio else 0.15 + 0.7 * u[:, 8:11]
    # From a wall's upper to its lower end the light changes.
    change = np.zeros(people.size, np.float32) if studio else 0.6 * u[:, 11] - 0.3
    faded = 1 + change[:, None, None, None] * np.linspace(0, 1, TALL, dtype=np.float32)[None, :, None, None]
    pictures = np.ascontiguousarray(np.broadcast_to(wall[:, None, None] * faded, (people.size, TALL, WIDE, 3)), np.float32)
    shapes = np.ascontiguousarray(body(who, worn, stance))
    # The hair of figures hides their eyes, which are smaller than a pixel there.
    shapes[:, _CROWN, 2] -= 0.23 * scale * share
    shapes[:, _CROWN, 6] = 0.55 * scale * share
    paint(pictures, shapes)
    if studio:
        seen = replace(
            seen, matrix=np.broadcast_to(np.eye(3, dtype=np.float32), (people.size, 3, 3)), gain=np.ones(people.size, np.float32),
            gamma=np.ones(people.size, np.float32), blur=np.full(people.size, 0.1, np.float32), noise=np.full(people.size, 0.008, np.float32),
        )  # fmt: skip
    key = address((people * 4096 + shots)[:, None], np.arange(TALL * WIDE * 3))
    noise = world.draws.uniform(f"{purpose} pixels", key).astype(np.float32).reshape(people.size, TALL, WIDE, 3)
    light = np.ones(people.size, np.float32) if studio else 0.85 + 0.3 * u[:, 12]
    return _cameras.take(pictures, seen, np.zeros(people.size, bool), noise, light)
