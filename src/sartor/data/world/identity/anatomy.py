"""Insides of people who do not exist: nested organs as label maps, what a reference scan of them looks like, and scanners that no method has seen.

world = IdentityWorld(seed=0)
label_maps(world, np.arange(300))           uint8 [300, 64, 64], numbers in `ORGANS`; the same for the same (seed, person)
references(world, np.arange(300))           float32 [300, 64, 64], noise-free, one fixed contrast, as a T1 scan is one
scans(world, np.arange(300), scanner=3)     float32 [300, 64, 64], in that scanner's contrast, resolution, shading and noise

With `volume=True` all of them are of [n, 48, 48, 48]: other organs of the same genes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
from scipy import ndimage

from sartor.data.world.draws import address
from sartor.data.world.identity.figures import IdentityWorld
from sartor.errors import ConfigError

SIZE, DEPTH = 64, 48
"""Pixels of a map, voxels of a volume, on each side."""
SPACING = 2.5
"""Millimetres of a pixel of a map of 64, which makes a head of one."""


@dataclass(frozen=True)
class Organ:
    """One organ of an average body, in the coordinates of the organ around it, which there is a ball of radius 1."""

    name: str
    inside: int
    """Number of the organ around it, which it never leaves; 0 is the picture itself, from -1 to 1."""
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    vary: float
    """How much its shape and place differ between people."""
    reference: float
    """Brightness in the reference contrast."""


ORGANS = (
    Organ("background", 0, (0, 0, 0), (2, 2, 2), 0.0, 0.0),
    Organ("skin", 0, (0, 0, 0), (0.86, 0.76, 0.8), 0.6, 0.95),
    Organ("bone", 1, (0, 0, 0), (0.88, 0.88, 0.88), 0.25, 0.3),
    Organ("fluid", 2, (0, 0, 0), (0.86, 0.86, 0.86), 0.3, 0.12),
    Organ("mantle", 3, (0, 0, 0), (0.88, 0.88, 0.88), 0.4, 0.55),
    Organ("core", 4, (0, 0, 0), (0.74, 0.74, 0.74), 0.7, 0.8),
    Organ("left lobe", 5, (-0.05, -0.5, 0), (0.5, 0.34, 0.45), 1.0, 0.42),
    Organ("right lobe", 5, (-0.05, 0.5, 0), (0.5, 0.34, 0.45), 1.0, 0.66),
    Organ("stem", 5, (0.62, 0, 0), (0.27, 0.32, 0.4), 1.0, 0.22),
    Organ("left nucleus", 6, (-0.1, 0.05, 0), (0.5, 0.5, 0.5), 1.2, 0.88),
    Organ("right nucleus", 7, (-0.1, -0.05, 0), (0.5, 0.5, 0.5), 1.2, 0.18),
    Organ("stem nucleus", 8, (0, 0, 0), (0.52, 0.52, 0.52), 1.2, 0.72),
)
"""Outer before inner, so that what is inside is drawn over what is around it."""

_WAVES = (2, 3, 4, 5)
"""Fourier terms of a boundary; one after another, as `_label` takes them."""
_GENES = 32
"""Numbers of one organ."""
_BENDS = 3
"""Cosines in each direction of the displacement of a whole body."""


@dataclass(frozen=True)
class Scanner:
    """One machine: what it makes of the same insides, besides a contrast of its own."""

    steps: tuple[int, int, int]
    """Pixels that one of its slices is thick, by direction."""
    shading: float
    """Of the logarithm of brightness, from the coil to the far side."""
    noise: float
    """Standard deviation of both parts of the signal, where brightness is up to 1."""
    texture: float
    """Standard deviation of a smooth unevenness within organs."""


SCANNERS = (
    Scanner((1, 1, 1), 0.0, 0.01, 0.0),
    Scanner((1, 1, 1), 0.2, 0.02, 0.02),
    Scanner((2, 1, 1), 0.3, 0.03, 0.02),
    Scanner((1, 3, 1), 0.3, 0.03, 0.03),
    Scanner((1, 1, 2), 0.9, 0.05, 0.03),
    Scanner((2, 2, 2), 0.5, 0.05, 0.03),
)
"""0 sees the reference contrast; the others have contrasts of their own, which are none that anything is trained on here."""


def label_maps(world: IdentityWorld, people: np.ndarray, *, volume: bool = False, size: int | None = None) -> np.ndarray:
    """uint8 [n, size, size], or [n, size, size, size] with `volume`: the organ at the middle of each pixel. Raises `ConfigError`."""
    side, people = _asked(people, volume, size)
    parts = [_drawn(world, part, side, volume) for part in _chunks(people, side, volume)]
    return np.concatenate(parts) if parts else np.zeros((0, *[side] * (2 + volume)), np.uint8)


def references(world: IdentityWorld, people: np.ndarray, *, volume: bool = False, size: int | None = None) -> np.ndarray:
    """float32 like `label_maps`, in [0, 1]: the mean of the reference contrast over each pixel, from two by two (by two) points in it."""
    side, people = _asked(people, volume, size)
    bright = np.array([one.reference for one in ORGANS], np.float32)
    parts = [_halved(bright[_drawn(world, part, 2 * side, volume)], 2 + volume) for part in _chunks(people, side, volume)]
    return np.concatenate(parts) if parts else np.zeros((0, *[side] * (2 + volume)), np.float32)


def contrast(world: IdentityWorld, scanner: int) -> np.ndarray:
    """float32 [12], how bright a scanner sees each organ: evenly spaced, in an order of its own; 0 sees the reference contrast."""
    if not 0 <= scanner < len(SCANNERS):
        raise ConfigError(f"there is no scanner {scanner}", fix=f"use 0 to {len(SCANNERS) - 1}")
    if not scanner:
        return np.array([one.reference for one in ORGANS], np.float32)
    rng = world.draws.generator(f"anatomy scanner {scanner}")
    levels = np.linspace(0.08, 0.95, len(ORGANS) - 1)[rng.permutation(len(ORGANS) - 1)]
    # Around a head there is air.
    return np.concatenate([[0.02], levels + 0.02 * (rng.random(levels.size) - 0.5)]).astype(np.float32)


def scans(
    world: IdentityWorld, people: np.ndarray, scanner: int, *, visit: int = 0, volume: bool = False, size: int | None = None
) -> np.ndarray:  # fmt: skip
    """float32 like `label_maps`, in a scanner's own arbitrary units: its contrast, thick slices, a coil on one side, Rician noise.

    Parameters
    ----------
    visit: the same person in the same scanner again: other noise, other shading, slightly other brightness of each organ.

    Raises `ConfigError`.
    """
    side, people = _asked(people, volume, size)
    bright, machine, dims = contrast(world, scanner), SCANNERS[scanner], 2 + volume
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * dims, indexing="ij"))
    out = np.empty((people.size, *[side] * dims), np.float32)
    for row, person in enumerate(people):
        fine = _drawn(world, people[row : row + 1], 2 * side, volume)[0]
        rng = np.random.default_rng([world.draws.seed, 811, int(person), scanner, visit, dims])
        image = _halved((bright + 0.02 * machine.noise / 0.05 * rng.normal(size=bright.size)).astype(np.float32)[fine][None], dims)[0]
        rough = ndimage.gaussian_filter(rng.normal(size=image.shape).astype(np.float32), 2.0)
        image = image + machine.texture * rough / max(float(rough.std()), 1e-6) * (image > 0.05)
        # A coil lies on one side of the head; what is far from it is seen darker, the more so the farther.
        way = rng.normal(size=dims)
        depth = np.tensordot(way / np.linalg.norm(way), grid, 1)
        image = image * np.exp(-machine.shading * (0.5 * depth + 0.25 * depth**2))
        small = _thick(image, machine.steps[:dims])
        parts = machine.noise * rng.normal(size=(2, *small.shape))
        small = np.hypot(small + parts[0], parts[1])
        out[row] = 1000 * _enlarged(small, image.shape)
    return out


def _asked(people: np.ndarray, volume: bool, size: int | None) -> tuple[int, np.ndarray]:
    side = (DEPTH if volume else SIZE) if size is None else size
    people = np.asarray(people, np.int64)
    if people.ndim != 1 or side < 8:
        raise ConfigError(f"people of shape {list(people.shape)} at {side} pixels", fix="give people [n], and at least 8 pixels")
    return side, people


def _chunks(people: np.ndarray, side: int, volume: bool) -> Iterator[np.ndarray]:
    step = max(1, 2**19 // (2 * side) ** (2 + volume))
    return (people[at : at + step] for at in range(0, people.size, step))


def _drawn(world: IdentityWorld, people: np.ndarray, side: int, volume: bool) -> np.ndarray:
    """uint8 [n, side, ...]: the innermost organ around each point."""
    dims = 2 + volume
    u = world.draws.uniform("identity anatomy", address(people[:, None], np.arange(_GENES * len(ORGANS)))).reshape(people.size, len(ORGANS), _GENES)
    axis = ((np.arange(side) + 0.5) / side) * 2 - 1
    bends = _displacement(world, people, axis, dims)
    points = np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)
    out = np.empty((people.size, len(points)), np.uint8)
    inside = np.array([one.inside for one in ORGANS])
    for row in range(people.size):
        _label(points + bends[row], inside, _shapes(2 * u[row] - 1, dims), out[row])
    return out.reshape(people.size, *[side] * dims)


def _shapes(genes: np.ndarray, dims: int) -> np.ndarray:
    """float64 [12, 10 + waves]: centre (3), radii (3), exponent, cosine and sine of the turn, then two Fourier terms for each wave."""
    vary = np.array([one.vary for one in ORGANS])[:, None]
    centre = np.array([one.centre for one in ORGANS]) + 0.09 * vary * genes[:, :3]
    radii = np.array([one.radii for one in ORGANS]) * np.exp(0.16 * vary * genes[:, 3:6])
    power = 2.3 + 0.5 * np.minimum(vary, 1.0) * genes[:, 6:7]
    turn = 0.35 * vary * genes[:, 7:8]
    waves = genes[:, 8 : 8 + 2 * len(_WAVES)] * 0.22 * vary / np.repeat(_WAVES, 2)
    return np.concatenate([centre, radii, power, np.cos(turn), np.sin(turn), waves], 1)


@numba.njit(cache=True)
def _label(points, inside, shapes, out):  # type: ignore[no-untyped-def]
    """Fill `out` [n] with the innermost organ around each of the points [n, dims].

    An organ is a super-ellipse with Fourier terms on its boundary. What is inside it is described in coordinates in which it is the ball of radius 1,
    so that nothing ever leaves what is around it.
    """
    n, dims = points.shape
    organs = len(shapes)
    frames = np.zeros((organs, dims))
    within = np.zeros(organs, np.bool_)
    q = np.zeros(dims)
    for at in range(n):
        frames[0] = points[at]
        within[0] = True
        found = 0
        for number in range(1, organs):
            shape = shapes[number]
            within[number] = False
            if not within[inside[number]]:
                continue
            for axis in range(dims):
                q[axis] = frames[inside[number], axis] - shape[axis]
            q[0], q[1] = shape[7] * q[0] + shape[8] * q[1], shape[7] * q[1] - shape[8] * q[0]
            square = total = 0.0
            for axis in range(dims):
                q[axis] /= shape[3 + axis]
                square += q[axis] ** 2
                total += abs(q[axis]) ** shape[6]
            # Nothing reaches further than this.
            if square > 4.0:
                continue
            length = np.sqrt(square) + 1e-12
            # The first wave as a complex number; away from the plane of two directions waves die out, so that both poles are smooth.
            first = complex(q[0] / length, q[1] / length)
            wave, bound = first, 1.0
            for place in range((shapes.shape[1] - 9) // 2):
                wave *= first
                bound += shape[9 + 2 * place] * wave.real + shape[10 + 2 * place] * wave.imag
            factor = total ** (1 / shape[6]) / (length * bound)
            if factor * length < 1.0:
                within[number] = True
                found = number
                for axis in range(dims):
                    frames[number, axis] = factor * q[axis]
        out[at] = found


def _displacement(world: IdentityWorld, people: np.ndarray, axis: np.ndarray, dims: int) -> np.ndarray:
    """float64 [n, points, dims]: how a whole body is bent, a few slow cosines."""
    waves = np.stack([np.cos(np.pi * k * (axis + 1) / 2) for k in range(1, _BENDS + 1)])
    u = world.draws.uniform("identity anatomy bends", address(people[:, None], np.arange(dims * _BENDS**dims)))
    weights = (2 * u - 1).reshape(people.size, dims, *[_BENDS] * dims)
    # The faster a wave, the smaller: no point of the body comes to lie on another.
    slow = 1 / np.arange(1, _BENDS + 1)
    for at in range(dims):
        weights = weights * slow.reshape([-1 if place == at else 1 for place in range(dims)])
    letters = "abc"[:dims], "xyz"[:dims]
    recipe = f"nd{letters[0]}," + ",".join(f"{a}{x}" for a, x in zip(*letters, strict=True)) + f"->nd{letters[1]}"
    moved = np.einsum(recipe, weights, *[waves] * dims, optimize=True)
    return np.asarray(0.06 * moved.reshape(people.size, dims, -1).transpose(0, 2, 1))


def _halved(images: np.ndarray, dims: int) -> np.ndarray:
    """float32, means over two pixels in every direction."""
    for at in range(1, 1 + dims):
        shape = [*images.shape[:at], images.shape[at] // 2, 2, *images.shape[at + 1 :]]
        images = images.reshape(shape).mean(at + 1)
    return np.asarray(images, np.float32)


def _thick(image: np.ndarray, steps: tuple[int, ...]) -> np.ndarray:
    """Means over slices of so many pixels; the last one is filled up with itself."""
    for at, step in enumerate(steps):
        if step > 1:
            image = np.concatenate([image, np.repeat(np.take(image, [-1], at), -image.shape[at] % step, at)], at)
            shape = [*image.shape[:at], image.shape[at] // step, step, *image.shape[at + 1 :]]
            image = image.reshape(shape).mean(at + 1)
    return image


def _enlarged(small: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Back to so many pixels, linear between the middles of slices."""
    for at, wanted in enumerate(shape):
        step = -(-wanted // small.shape[at])
        if step > 1:
            place = np.clip((np.arange(wanted) + 0.5) / step - 0.5, 0, small.shape[at] - 1)
            low = np.minimum(place.astype(np.int64), small.shape[at] - 2)
            share = (place - low).reshape([-1 if one == at else 1 for one in range(len(shape))])
            small = (1 - share) * np.take(small, low, at) + share * np.take(small, low + 1, at)
    return small
