"""Whole bodies under several cameras, with everything that is true of them: who, where, when, in which outfit, how much of it can be seen.

world = IdentityWorld(seed=0)
shots = world.shots(np.arange(150), each=8, domains=(0, 1), days=30)
world.render(shots)                 uint8 [1200, 64, 32, 3], the same pixels for the same (seed, person, shot)
shots.person, shots.camera, shots.outfit_id, shots.day, shots.night, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from sartor.data.world.draws import Draws, address
from sartor.data.world.identity import cameras as _cameras
from sartor.data.world.identity import people as _people
from sartor.data.world.identity.cameras import CAMERAS, HEIGHT, WIDTH
from sartor.data.world.identity.painter import BOX, paint, shape
from sartor.data.world.identity.people import SEASON, People
from sartor.data.world.identity.skeleton import Stance, body
from sartor.errors import ConfigError

_MOST = 4096
"""Shots of one person."""
_CHUNK = 512


@dataclass(frozen=True)
class Shots:
    """What n pictures show; one row a picture."""

    person: np.ndarray
    """int64 [n]."""
    shot: np.ndarray
    """int64 [n], number of the picture among the person's."""
    domain: np.ndarray
    """int64 [n], place."""
    camera: np.ndarray
    """int64 [n], all different over places: place x 1000 + number there."""
    day: np.ndarray
    """int64 [n], from 0."""
    outfit: np.ndarray
    """int64 [n], among the person's."""
    night: np.ndarray
    """bool [n]."""
    heading: np.ndarray
    """float32 [n], radians: 0 towards the camera."""
    phase: np.ndarray
    """float32 [n]."""
    shift: np.ndarray
    """float32 [n, 2], pixels off the middle, right and down."""
    scale: np.ndarray
    """float32 [n]."""
    light: np.ndarray
    """float32 [n], a factor."""
    occluder: np.ndarray
    """float32 [n, 7]: left, top, right and bottom in pixels, RGB of what stands in front; left beyond the picture where nothing does."""

    def __len__(self) -> int:
        return int(self.person.size)

    def rows(self, rows: np.ndarray) -> Shots:
        """Some of them."""
        return Shots(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def outfit_id(self) -> np.ndarray:
        """int64 [n]: different for any two outfits of anybody."""
        return self.person * (1 << 20) + self.outfit

    @property
    def season(self) -> np.ndarray:
        """int64 [n], 0 (winter) to 3."""
        return (self.day // SEASON) % 4


@dataclass(frozen=True)
class IdentityWorld:
    """Generated people, each of whose pictures has a known cause. Nothing in it resembles a real person.

    Parameters
    ----------
    seed: of everything; a person of one number is another one under another seed.
    """

    seed: int = 0

    @property
    def draws(self) -> Draws:
        """All random numbers, by purpose and address."""
        return Draws(self.seed)

    def people(self, numbers: np.ndarray) -> People:
        """Genes of people by number."""
        return _people.people(self.draws, numbers)

    def shots(
        self, people: np.ndarray, each: int = 8, *, first: int = 0, domains: Sequence[int] = (0,), cameras: int = CAMERAS, days: int = 1,
        start: int = 0, wardrobe: int = 2, night: float = 0.0, occluded: float = 0.2, free: float = 0.5,
    ) -> Shots:  # fmt: skip
        """`each` pictures of each person, numbered from `first`.

        Parameters
        ----------
        domains: places in which they are taken, at random.
        cameras: of each place; a person's pictures go through them in turn.
        days, start: taken on a random day from `start` on, of so many.
        wardrobe: outfits of a person in one season (91 days); one a day.
        night: share of pictures by night.
        occluded: share of pictures with something in front.
        free: how far people leave the camera's usual path, 0 to 1 (any direction).

        Raises `ConfigError` for numbers out of range.
        """
        people = np.asarray(people, np.int64)
        if people.ndim != 1 or (people.size and not 0 <= people.min() <= people.max() < 1 << 27):
            raise ConfigError("people are no list of numbers from 0 to 2 ** 27", fix="give np.arange(n)")
        if each < 1 or first < 0 or first + each > _MOST or days < 1 or wardrobe < 1 or not len(domains) or cameras < 1:
            what = f"each {each}, first {first}, days {days}, wardrobe {wardrobe}, {len(domains)} places, cameras {cameras}"
            raise ConfigError(what, fix=f"at least one of each, and at most {_MOST} pictures a person")
        person, shot = np.repeat(people, each), np.tile(np.arange(first, first + each), people.size)
        u = self.draws.uniform("identity shot", address(person[:, None], shot[:, None] * 32 + np.arange(24))).astype(np.float32)
        domain = np.asarray(domains, np.int64)[(u[:, 0] * len(domains)).astype(np.int64)]
        number = (shot + (self.draws.uniform("identity round", address(person)) * cameras).astype(np.int64)) % cameras
        day = start + (u[:, 1] * days).astype(np.int64)
        path = _cameras.cameras(self.draws, domain, number).path
        back = np.where(u[:, 3] < 0.4, np.pi, 0)
        heading = (path + back + (u[:, 4] - 0.5) * 2 * np.pi * free) % (2 * np.pi)
        return Shots(
            person=person, shot=shot, domain=domain, camera=domain * 1000 + number, day=day,
            outfit=_people.outfit_numbers(self.draws, person, day, wardrobe), night=u[:, 2] < night, heading=heading.astype(np.float32),
            phase=(2 * np.pi * u[:, 5]).astype(np.float32), shift=4 * (u[:, 6:8] - 0.5), scale=0.96 + 0.08 * u[:, 8], light=0.85 + 0.3 * u[:, 9],
            occluder=_occluders(u[:, 10:18], u[:, 18] < occluded),
        )  # fmt: skip

    def render(self, shots: Shots) -> np.ndarray:
        """uint8 [n, 64, 32, 3]."""
        return self.seen(shots)[0]

    def seen(self, shots: Shots) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pictures, uint8 [n, 64, 32, 3]; what of them is the figure, float32 [n, 64, 32]; and its share that nothing hides, float32 [n]."""
        parts = [self._seen(shots.rows(np.arange(at, min(at + _CHUNK, len(shots))))) for at in range(0, max(1, len(shots)), _CHUNK)]
        pictures, masks, visible = (np.concatenate(part) for part in zip(*parts, strict=True))
        return pictures, masks, visible

    def shapes(self, shots: Shots, *, own: float = 1.0) -> np.ndarray:
        """float32 [n, s, 16], the figures alone as `painter.paint` takes them."""
        seen = _cameras.cameras(self.draws, shots.domain, shots.camera % 1000)
        worn = _people.outfits(
            self.draws, shots.person, shots.outfit, _cameras.palettes(self.draws, shots.domain),
            _cameras.coldness(self.draws, shots.domain, shots.day),
        )  # fmt: skip
        stance = Stance(
            shots.heading, shots.phase, ((WIDTH - 1) / 2 + shots.shift[:, 0], HEIGHT - 4 + shots.shift[:, 1]), shots.scale * seen.zoom, seen.pitch
        )
        return body(self.people(shots.person), worn, stance, own=own)

    def pose_maps(self, shots: Shots) -> np.ndarray:
        """uint8 [n, 64, 32, 3]: the poses alone, as a body of middling genes in fixed colours before black: nothing of who it is, or what is worn."""
        n = len(shots)
        middling = replace(
            self.people(shots.person), looks=np.full((n, 18), 0.5, np.float32), ageing=np.zeros((n, 5), np.float32),
            body=np.full((n, 6), 0.5, np.float32), hair=np.full((n, 2), 0.5, np.float32), style=np.zeros(n, np.int8),
        )  # fmt: skip
        seen = _cameras.cameras(self.draws, shots.domain, shots.camera % 1000)
        colours = np.broadcast_to(np.array([[1, 0.2, 0.2], [0.2, 0.2, 1], [0.2, 1, 0.2]], np.float32), (n, 3, 3))
        worn = _people.Outfits(
            top=colours[:, [0, 0]], pattern=np.zeros(n, np.int8), trousers=colours[:, 1], shoes=colours[:, 2], sleeves=np.ones(n, bool),
            coat=np.zeros(n, bool), bag=np.zeros(n, np.int8), bag_colour=colours[:, 2], hat=np.full((n, 3), -1, np.float32),
        )  # fmt: skip
        foot = ((WIDTH - 1) / 2 + shots.shift[:, 0], HEIGHT - 4 + shots.shift[:, 1])
        pictures = np.zeros((n, HEIGHT, WIDTH, 3), np.float32)
        paint(pictures, np.ascontiguousarray(body(middling, worn, Stance(shots.heading, shots.phase, foot, shots.scale * seen.zoom, seen.pitch))))
        return (255 * np.clip(pictures, 0, 1)).astype(np.uint8)

    def photograph(self, shots: Shots, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Like `seen`, of any shapes before the backdrop of each shot."""
        seen = _cameras.cameras(self.draws, shots.domain, shots.camera % 1000)
        key = address((shots.person * _MOST + shots.shot)[:, None], np.arange(HEIGHT * WIDTH + 1))
        drawn = self.draws.uniform("identity pixels", key)
        pictures = _cameras.backdrops(seen, 40 * drawn[:, -1])
        mask, whole = paint(pictures, np.ascontiguousarray(shapes))
        # One number has bits enough for three colours.
        bits = (drawn[:, :-1] * 2.0**48).astype("<u8").view("<u2").reshape(len(shots), HEIGHT, WIDTH, 4)[..., :3]
        made = _cameras.take(pictures, seen, shots.night, bits.astype(np.float32) / 65536, shots.light)
        return made, mask, mask.sum((1, 2)) / np.maximum(whole.sum((1, 2)), 1e-6)

    def _seen(self, shots: Shots) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        box = shots.occluder
        zero = np.zeros(len(shots), np.float32)
        before = shape(len(shots), BOX, (box[:, 0], box[:, 1]), zero, (box[:, 2], box[:, 3]), zero, box[:, 4:], own=0.0, there=box[:, 0] < WIDTH)
        return self.photograph(shots, np.concatenate([self.shapes(shots), before[:, None]], 1))


def _occluders(u: np.ndarray, there: np.ndarray) -> np.ndarray:
    """float32 [n, 7]: a post beside the middle, or something low; grey-brown."""
    post = u[:, 0] < 0.5
    # Beside the middle, so that some of everybody is left.
    left = np.where(post, 2 + 16 * u[:, 1] + 7 * (u[:, 1] > 0.5), -1)
    top = np.where(post, -1, 34 + 16 * u[:, 2])
    right = np.where(post, left + 3 + 5 * u[:, 3], WIDTH)
    colour = (0.15 + 0.6 * u[:, 4:5]) * (1 - 0.25 * u[:, 5:8])
    made = np.concatenate([np.stack([left, top, right, np.full_like(left, HEIGHT)], 1), colour], 1)
    made[~there, 0] = 2 * WIDTH
    return made.astype(np.float32)


def dressed(shots: Shots, outfit: np.ndarray) -> Shots:
    """The same pictures in other outfits, int64 [n]: what would be seen had they worn that."""
    return replace(shots, outfit=np.asarray(outfit, np.int64))
