"""Papers as cameras see them: lying somewhere, in some light, at some angle; and as scanners and printers leave them.

scene = insert(paper, side=64, seed=3)
scene.image, scene.corners                  uint8 [64, 64, 3], float64 [4, 2] in its pixels
scene.quads["surname"]                      any field of the paper, through the same homography
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.data.world.identity.papers import Paper
from sartor.errors import ConfigError, MissingExtra

_FINE = 4
"""Times finer than the picture that is kept, while it is put together."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A paper somewhere."""

    image: np.ndarray
    """uint8 [side, side, 3]."""
    homography: np.ndarray
    """float64 [3, 3], from pixels of the paper to pixels of the scene."""
    corners: np.ndarray
    """float64 [4, 2]: of the paper's upper left, upper right, lower right and lower left corner."""
    quads: dict[str, np.ndarray]
    """float64 [4, 2] of each field."""


def homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float64 [3, 3] that takes four points [4, 2] to four others; raises `ConfigError` where three of them are on a line."""
    rows = []
    for (x, y), (u, v) in zip(np.asarray(source, np.float64), np.asarray(target, np.float64), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    for side in (np.asarray(source, np.float64), np.asarray(target, np.float64)):
        legs = np.diff(np.r_[side, side[:2]], axis=0)
        turns = legs[:-1, 0] * legs[1:, 1] - legs[:-1, 1] * legs[1:, 0]
        if np.abs(turns).min() < 1e-9 * np.square(legs).max():
            raise ConfigError("three of four corners are on a line", fix="give the corners of a convex figure")
    solved = np.linalg.solve(np.array(rows), np.asarray(target, np.float64).ravel())
    return np.r_[solved, 1.0].reshape(3, 3)


def through(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [n, 2] through a homography."""
    made = np.c_[points, np.ones(len(points))] @ matrix.T
    out: np.ndarray = made[:, :2] / made[:, 2:]
    return out


def warped(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [height, width(, 3)]: an image through a homography from its pixels to those of a picture of `size` (width, height); black around it."""
    picture = _pillow().fromarray(image)
    back = np.linalg.inv(matrix)
    shown = picture.transform(size, _pillow().Transform.PERSPECTIVE, (back / back[2, 2]).ravel()[:8].tolist(), _pillow().Resampling.BILINEAR)
    return np.asarray(shown)


def insert(paper: Paper, *, side: int = 64, seed: int = 0, plain: bool = False) -> Scene:
    """The paper in a scene; the same for the same (paper, seed).

    Parameters
    ----------
    plain: always on the same grey table in the same even light; where it lies varies as ever.
    """
    if side < 16:
        raise ConfigError(f"scenes of {side} pixels", fix="use 16 or more")
    rng = np.random.default_rng([seed, paper.person, 71])
    corners = _placed(paper, side, rng)
    matrix = homography(paper.corners, corners)
    fine = np.diag([_FINE, _FINE, 1.0]) @ matrix
    wide = side * _FINE
    light = np.ones((wide, wide, 3), np.float32) if plain else _light(wide, rng)
    ground = np.full((wide, wide, 3), 0.45, np.float32) if plain else _ground(wide, rng)
    shown = warped(paper.image, fine, (wide, wide)).astype(np.float32) / 255
    there = warped(np.full(paper.image.shape[:2], 255, np.uint8), fine, (wide, wide)).astype(np.float32)[..., None] / 255
    picture = (ground * (1 - there) + shown * there) * light
    picture = picture.reshape(side, _FINE, side, _FINE, 3).mean((1, 3))
    if not plain:
        picture = picture + rng.uniform(0.0, 0.04) * rng.standard_normal(picture.shape)
    image = (255 * picture.clip(0, 1) + 0.5).astype(np.uint8)
    return Scene(image, matrix, corners, {name: through(matrix, quad) for name, quad in paper.quads.items()})


def scanned(image: np.ndarray, *, seed: int = 0, strength: float = 1.0) -> np.ndarray:
    """uint8 like it: printed in dots, scanned a little unsharp, in slightly wrong colours, and compressed."""
    import io

    rng = np.random.default_rng([seed, 73])
    height, width = image.shape[:2]
    x = image.astype(np.float32) / 255
    # Dots of the print: a pattern whose phase differs between colours.
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    period = rng.uniform(2.5, 3.5)
    for channel in range(3):
        turned = rng.uniform(0, np.pi / 2)
        wave = np.sin(2 * np.pi / period * (np.cos(turned) * columns + np.sin(turned) * rows))
        x[..., channel] += strength * 0.06 * wave * np.cos(2 * np.pi / period * (np.cos(turned) * rows - np.sin(turned) * columns))
    gain = 1 + strength * 0.12 * (rng.random(3) - 0.5)
    x = (x * gain + strength * 0.06 * (rng.random(3) - 0.5) + 0.02 * strength * rng.standard_normal(x.shape)).clip(0, 1)
    from PIL import ImageFilter

    made = _pillow().fromarray((255 * x + 0.5).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8 * strength))
    held = io.BytesIO()
    made.save(held, "JPEG", quality=int(rng.integers(55, 85)))
    return np.asarray(_pillow().open(held).convert("RGB"))


def cut(image: np.ndarray, quad: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [height, width, 3]: what is inside a quad [4, 2] of a picture, made straight; `size` is (width, height)."""
    width, height = size
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    return warped(image, homography(quad, target), size)


def _placed(paper: Paper, side: int, rng: np.random.Generator) -> np.ndarray:
    """Corners of the paper in the scene, all inside it: turned by up to 25 degrees, half to nearly all of the width, seen at a slant."""
    height, width = paper.image.shape[:2]
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [0.5, 0.5 * height / width] * side * rng.uniform(0.5, 0.82)
    turn = rng.uniform(-0.44, 0.44)
    turned = half @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    turned *= 1 + 0.14 * rng.uniform(-1, 1, (4, 1))
    low, high = 1 - turned.min(0), side - 1 - turned.max(0)
    out: np.ndarray = turned + np.where(low < high, rng.uniform(np.minimum(low, high), np.maximum(low, high)), (low + high) / 2)
    return out


def _light(wide: int, rng: np.random.Generator) -> np.ndarray:
    """Brighter on one side, warmer or colder, and with a shadow's soft edge in half of the scenes."""
    y, x = np.mgrid[:wide, :wide].astype(np.float32) / wide - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    along = np.cos(turn) * x + np.sin(turn) * y
    light = rng.uniform(0.65, 1.15) * (1 + rng.uniform(0, 0.5) * along)
    if rng.random() < 0.5:
        turn = rng.uniform(0, 2 * np.pi)
        edge = np.cos(turn) * x + np.sin(turn) * y - rng.uniform(-0.2, 0.2)
        light = light * (1 - rng.uniform(0.15, 0.45) / (1 + np.exp(-edge * rng.uniform(20, 80))))
    warm = 0.12 * rng.uniform(-1, 1)
    out: np.ndarray = light[..., None] * np.array([1 + warm, 1, 1 - warm], np.float32)
    return out.astype(np.float32)


def _ground(wide: int, rng: np.random.Generator) -> np.ndarray:
    """A table: one colour fading into another, with stripes, or with other things that lie there."""
    from PIL import ImageDraw

    first, second = rng.uniform(0.05, 0.95, (2, 3))
    share = np.linspace(0, 1, wide)[:, None, None]
    base = np.broadcast_to(first * (1 - share) + second * share, (wide, wide, 3))
    picture = _pillow().fromarray((255 * base).astype(np.uint8))
    draw = ImageDraw.Draw(picture)

    def any_colour() -> tuple[int, ...]:
        return tuple(rng.integers(10, 245, 3).tolist())

    kind = rng.integers(3)
    if kind == 1:
        ink, step, lean = any_colour(), int(rng.integers(12, 60)), float(rng.uniform(-1, 1))
        for at in range(-2 * wide, 3 * wide, step):
            draw.line([(at, 0), (at + lean * wide, wide)], fill=ink, width=max(1, step // 4))
    elif kind == 2:
        for _ in range(int(rng.integers(3, 9))):
            left, top = rng.uniform(-0.2, 1.0, 2) * wide
            size = rng.uniform(0.1, 0.5, 2) * wide
            shape = draw.rectangle if rng.random() < 0.6 else draw.ellipse
            shape((left, top, left + size[0], top + size[1]), fill=any_colour())
    return np.asarray(picture).astype(np.float32) / 255


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as missing:
        raise MissingExtra("pillow", "recognize") from missing
    return Image
