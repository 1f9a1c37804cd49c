"""Several people walking before one camera, frame by frame: who enters, leaves, crosses and hides whom is known, and need not be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sartor.data.world.draws import address
from sartor.data.world.identity.cameras import CAMERAS, WIDTH
from sartor.data.world.identity.figures import IdentityWorld, Shots
from sartor.data.world.identity.people import outfit_numbers
from sartor.errors import ConfigError

SCENE = 10 * WIDTH
"""Pixels that a frame is wide."""


@dataclass(frozen=True)
class Clips:
    """Crops of all people in all frames of some clips; one row a crop."""

    images: np.ndarray
    """uint8 [m, 64, 32, 3]."""
    clip: np.ndarray
    """int64 [m]."""
    frame: np.ndarray
    """int64 [m], in the clip."""
    boxes: np.ndarray
    """float32 [m, 4]: left, top, right and bottom in the frame, pixels."""
    person: np.ndarray
    """int64 [m], the truth: for oracles and judges, never for a method without labels."""
    visible: np.ndarray
    """float32 [m], share of the figure that nobody hides."""
    camera: np.ndarray
    """int64 [m], as of `Shots`."""

    def __len__(self) -> int:
        return int(self.clip.size)


def clips(
    world: IdentityWorld, people: np.ndarray, count: int, *, frames: int = 4, actors: tuple[int, int] = (3, 8), missing: float = 0.2,
    domains: Sequence[int] = (0,), cameras: int = CAMERAS, turn: float = 0.5, first: int = 0,
) -> Clips:  # fmt: skip
    """`count` clips of people out of a pool.

    Parameters
    ----------
    people: their numbers; every clip draws its own.
    frames: of a clip, a second or so apart: people walk 10 to 35 pixels between two.
    actors: least and most people of a clip.
    missing: share of people who come in or leave between the first and the last frame.
    turn: most that people turn between two frames, radians.
    first: number of the first clip; other numbers are other clips.

    Raises `ConfigError` where there are fewer people than a clip may have, or fewer than two frames.
    """
    people = np.asarray(people, np.int64)
    if not 1 <= actors[0] <= actors[1] <= people.size or frames < 2 or count < 1:
        raise ConfigError(f"{people.size} people, {actors} of them in a clip of {frames} frames", fix="give enough people, and 2 frames or more")
    rows = [_script(world, people, number, frames, actors, missing, domains, cameras, turn) for number in range(first, first + count)]
    table = np.concatenate(rows)
    shots = _shots(world, table)
    before, behind = _neighbours(table)
    shapes = world.shapes(shots)
    around = []
    for other in (behind, before):
        moved = shots.rows(np.maximum(other, 0))
        shift = moved.shift + np.stack([table["x"][other] - table["x"], np.zeros(len(table))], 1).astype(np.float32)
        drawn = world.shapes(replace(moved, shift=shift), own=0.0)
        drawn[other < 0, :, 0] = -1
        around.append(drawn)
    chunks = [np.arange(at, min(at + 512, len(table))) for at in range(0, len(table), 512)]
    seen = [world.photograph(shots.rows(part), np.concatenate([around[0][part], shapes[part], around[1][part]], 1)) for part in chunks]
    left = table["x"] - WIDTH / 2
    return Clips(
        images=np.concatenate([one[0] for one in seen]), clip=table["clip"], frame=table["frame"],
        boxes=np.stack([left, np.zeros(len(table)), left + WIDTH, np.full(len(table), 64.0)], 1).astype(np.float32),
        person=table["person"], visible=np.concatenate([one[2] for one in seen]), camera=shots.camera,
    )  # fmt: skip


_ROW = np.dtype(
    [
        ("clip", "i8"), ("frame", "i8"), ("person", "i8"), ("domain", "i8"), ("number", "i8"), ("x", "f8"), ("depth", "f8"), ("heading", "f8"),
        ("phase", "f8"), ("day", "i8"),
    ]
)  # fmt: skip


def _script(
    world: IdentityWorld, people: np.ndarray, clip: int, frames: int, actors: tuple[int, int], missing: float, domains: Sequence[int], cameras: int,
    turn: float,
) -> np.ndarray:  # fmt: skip
    """Who is where in every frame of one clip."""
    rng = np.random.default_rng([world.seed, clip, 71])
    count = int(rng.integers(actors[0], actors[1] + 1))
    who = rng.choice(people, count, replace=False)
    speed = rng.uniform(10, 35, count) * rng.choice([-1, 1], count)
    middle = rng.uniform(WIDTH, SCENE - WIDTH, count)
    times = np.arange(frames)[:, None] - (frames - 1) / 2
    out = np.zeros((frames, count), _ROW)
    out["clip"], out["frame"], out["person"] = clip, np.arange(frames)[:, None], who
    out["domain"], out["number"], out["day"] = int(rng.choice(np.asarray(domains))), int(rng.integers(cameras)), int(rng.integers(365))
    out["x"] = middle + speed * times
    out["depth"] = rng.permutation(count) / max(1, count - 1)
    # 0 is towards the camera: who walks to the right of the picture heads for pi/2.
    out["heading"] = np.where(speed > 0, 0.5, -0.5) * np.pi + rng.uniform(-0.9, 0.9, count) + turn * rng.uniform(-1, 1, count) * times
    pace = 2 + 2 * world.people(who).gene("gait phase speed")
    out["phase"] = rng.uniform(0, 2 * np.pi, count) + pace * times
    cut = rng.integers(1, frames, count)
    enters = rng.random(count) < 0.5
    there = np.where(enters, np.arange(frames)[:, None] >= cut, np.arange(frames)[:, None] < cut) | (rng.random(count) >= missing)
    there &= (out["x"] > 0) & (out["x"] < SCENE)
    # In no order that would tell who is who.
    found = rng.permutation(out[there])
    return np.asarray(found[np.argsort(found["frame"], kind="stable")])


def _shots(world: IdentityWorld, table: np.ndarray) -> Shots:
    """Every row as a picture of its own."""
    n, person = len(table), table["person"]
    shot = (table["clip"] * 16 + table["frame"]) % 4096
    u = world.draws.uniform("identity clip", address(person[:, None], shot[:, None] * 8 + np.arange(4))).astype(np.float32)
    # Light falls into a scene unevenly: who walks through it is seen bright and dark.
    wave = np.sin(table["x"] / SCENE * 2 * np.pi + table["clip"])
    none = np.zeros((n, 7), np.float32)
    none[:, 0] = 2 * WIDTH
    return Shots(
        person=person, shot=shot, domain=table["domain"], camera=table["domain"] * 1000 + table["number"], day=table["day"],
        outfit=outfit_numbers(world.draws, person, table["day"], 2), night=np.zeros(n, bool), heading=table["heading"].astype(np.float32),
        phase=table["phase"].astype(np.float32), shift=3 * (u[:, :2] - 0.5), scale=(0.94 + 0.10 * table["depth"]).astype(np.float32),
        light=(0.95 + 0.25 * wave).astype(np.float32), occluder=none,
    )  # fmt: skip


def _neighbours(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [m] rows of who stands nearest before and behind each in its picture; -1 for nobody."""
    before, behind = np.full(len(table), -1), np.full(len(table), -1)
    key = table["clip"] * 4096 + table["frame"]
    for rows in np.split(np.argsort(key, kind="stable"), np.flatnonzero(np.diff(np.sort(key))) + 1):
        apart = np.abs(table["x"][rows][:, None] - table["x"][rows][None])
        np.fill_diagonal(apart, np.inf)
        nearer = table["depth"][rows][None] > table["depth"][rows][:, None]
        for out, which in ((before, nearer), (behind, ~nearer)):
            gap = np.where(which & (apart < WIDTH), apart, np.inf)
            out[rows] = np.where(np.isfinite(gap.min(1)), rows[gap.argmin(1)], -1)
    return before, behind
